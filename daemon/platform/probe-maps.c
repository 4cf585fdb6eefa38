/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "base/util.h"
#include "platform/probe-maps.h"

/*
 * usec. A change takes microseconds, and there are four in the life of a TD; but in a virtual machine the CPU that is at work
 * can stand still in the middle of one.
 */
#define SNAPSHOT_MAX (20 * USEC_PER_MSEC)

/*
 * struct bpf_link_info of Linux 6.7 and later, as far as it is needed: older headers have neither kprobe_multi nor its
 * count of calls that ftrace could not hand over. A kernel that does not know a field leaves it as it is.
 */
struct link_info {
        uint32_t type, id, prog_id, padding;
        uint64_t addrs;
        uint32_t count, flags;
        uint64_t missed;
};

struct ProbeMaps {
        char *pins;
        dev_t device;           /* of the pin of the counters: what is pinned anew has another inode */
        ino_t inode;
        const struct probe_counters *counters;
        size_t mapped;
        int tds_fd, events_fd;
        int programs[PROBES_COUNT], links[PROBES_COUNT];
};

static const char *const names[] = {
#define NAME(name, program, function, at_return) name,
        PROBES(NAME)
#undef NAME
};
G_STATIC_ASSERT(G_N_ELEMENTS(names) == PROBES_COUNT);

static int open_pin(const char *pins, const char *prefix, const char *name, uint32_t flags) {
        LIBBPF_OPTS(bpf_obj_get_opts, options, .file_flags = flags);
        g_autofree char *path = g_strdup_printf("%s/%s%s", pins, prefix, name);

        return bpf_obj_get_opts(path, &options);
}

static int stat_counters(const char *pins, struct stat *ret) {
        g_autofree char *path = g_build_filename(pins, PROBE_PIN_COUNTERS, NULL);

        return lstat(path, ret) < 0 ? -errno : 0;
}

static bool is_map(int fd, uint32_t type, uint32_t flags, uint32_t key_size, uint32_t value_size) {
        struct bpf_map_info info = {};
        uint32_t size = sizeof(info);

        return bpf_obj_get_info_by_fd(fd, &info, &size) >= 0 && info.type == type &&
               (info.map_flags & flags) == flags && info.key_size == key_size &&
               info.value_size == value_size;
}

/*
 * The descriptor is opened for writing, since the kernel takes a mapping of one that cannot write for a private one, and
 * refuses that (bpf_map_mmap() in kernel/bpf/syscall.c). The map is frozen: nobody can write by it.
 */
static int map_counters(ProbeMaps *m) {
        _cleanup_close_ int fd = -1;
        void *p;

        fd = open_pin(m->pins, "", PROBE_PIN_COUNTERS, 0);
        if (fd < 0)
                return fd;
        if (!is_map(fd, BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE, sizeof(uint32_t), sizeof(struct probe_counters)))
                return -EPROTO;

        p = mmap(NULL, m->mapped, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        m->counters = p;
        return m->counters->magic == PROBE_MAGIC && m->counters->version == PROBE_VERSION ? 0 : -EPROTO;
}

static int link_info(int fd, struct link_info *ret) {
        uint32_t size = sizeof(*ret);

        *ret = (struct link_info) {};
        return bpf_obj_get_info_by_fd(fd, ret, &size);
}

static int program_info(int fd, struct bpf_prog_info *ret) {
        uint32_t size = sizeof(*ret);

        *ret = (struct bpf_prog_info) {};
        return bpf_obj_get_info_by_fd(fd, ret, &size);
}

/* The program, and the link that attaches exactly this one. */
static int open_probe(ProbeMaps *m, size_t i) {
        struct bpf_prog_info program;
        struct link_info link;
        int r;

        m->programs[i] = open_pin(m->pins, PROBE_PIN_PROGRAM, names[i], 0);
        if (m->programs[i] < 0)
                return m->programs[i];
        m->links[i] = open_pin(m->pins, PROBE_PIN_LINK, names[i], 0);
        if (m->links[i] < 0)
                return m->links[i];

        r = program_info(m->programs[i], &program);
        if (r >= 0)
                r = link_info(m->links[i], &link);
        if (r < 0)
                return r;
        return link.prog_id == program.id ? 0 : -EPROTO;
}

static int open_maps(ProbeMaps *m) {
        int r;

        r = map_counters(m);
        if (r < 0)
                return r;

        m->tds_fd = open_pin(m->pins, "", PROBE_PIN_TDS, BPF_F_RDONLY);
        if (m->tds_fd < 0)
                return m->tds_fd;
        /* Its reader writes how far it has read. */
        m->events_fd = open_pin(m->pins, "", PROBE_PIN_EVENTS, 0);
        if (m->events_fd < 0)
                return m->events_fd;
        if (!is_map(m->tds_fd, BPF_MAP_TYPE_HASH, 0, sizeof(uint64_t), sizeof(struct probe_td)) ||
            !is_map(m->events_fd, BPF_MAP_TYPE_RINGBUF, 0, 0, 0))
                return -EPROTO;

        for (size_t i = 0; i < PROBES_COUNT; i++) {
                r = open_probe(m, i);
                if (r < 0)
                        return r;
        }
        return 0;
}

int probe_maps_open(const char *pins, ProbeMaps **ret) {
        g_autoptr(ProbeMaps) m = g_new0(ProbeMaps, 1);
        struct stat st;
        int r;

        *m = (ProbeMaps) { .pins = g_strdup(pins), .tds_fd = -1, .events_fd = -1, .mapped = sizeof(struct probe_counters) };
        for (size_t i = 0; i < PROBES_COUNT; i++)
                m->programs[i] = m->links[i] = -1;

        r = stat_counters(pins, &st);
        if (r < 0)
                return r;
        m->device = st.st_dev;
        m->inode = st.st_ino;

        r = open_maps(m);
        /* One is missing, although there are some: not what the loader leaves behind. */
        if (r == -ENOENT && stat_counters(pins, &st) >= 0)
                return -EPROTO;
        if (r < 0)
                return r;
        /* Replaced meanwhile: what is open now is a mixture. */
        if (!probe_maps_are_current(m))
                return -EAGAIN;

        *ret = g_steal_pointer(&m);
        return 0;
}

ProbeMaps *probe_maps_free(ProbeMaps *m) {
        if (!m)
                return NULL;

        if (m->counters)
                munmap((void *) m->counters, m->mapped);
        closep(&m->tds_fd);
        closep(&m->events_fd);
        for (size_t i = 0; i < PROBES_COUNT; i++) {
                closep(&m->programs[i]);
                closep(&m->links[i]);
        }
        g_free(m->pins);
        g_free(m);
        return NULL;
}

bool probe_maps_are_current(const ProbeMaps *m) {
        struct stat st;

        return stat_counters(m->pins, &st) >= 0 && st.st_dev == m->device && st.st_ino == m->inode;
}

const struct probe_counters *probe_maps_counters(const ProbeMaps *m) {
        return m->counters;
}

int probe_maps_events_fd(const ProbeMaps *m) {
        return m->events_fd;
}

static uint64_t load(const __u64 *counter) {
        return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

uint64_t probe_maps_generation(const ProbeMaps *m) {
        return load(&m->counters->begun);
}

/*
 * One by one: while a call for the whole table runs, the kernel keeps tracing programs off that CPU, and a thread that
 * gets its turn there meanwhile would be missed (bpf_disable_instrumentation() in kernel/bpf/). Which would be noticed,
 * see probe_maps_lost(), but is better avoided. 0, or -EAGAIN: something changed.
 */
static int read_tds(const ProbeMaps *m, GArray *records) {
        ProbeRecord record = {};
        int r;

        g_array_set_size(records, 0);
        for (r = bpf_map_get_next_key(m->tds_fd, NULL, &record.td); r >= 0;
             r = bpf_map_get_next_key(m->tds_fd, &record.td, &record.td)) {
                r = bpf_map_lookup_elem(m->tds_fd, &record.td, &record.value);
                if (r == -ENOENT || records->len >= PROBE_TDS_MAX)
                        return -EAGAIN;
                if (r < 0)
                        return r;
                g_array_append_val(records, record);
        }
        return r == -ENOENT ? 0 : r;
}

static uint64_t count_building(const GArray *records) {
        uint64_t n = 0;

        for (unsigned i = 0; i < records->len; i++)
                if (g_array_index(records, ProbeRecord, i).value.state == PROBE_BUILDING)
                        n++;
        return n;
}

int probe_maps_snapshot(const ProbeMaps *m, GArray **ret, uint64_t *ret_generation) {
        g_autoptr(GArray) records = g_array_new(false, false, sizeof(ProbeRecord));
        uint64_t deadline = clock_boottime(&system_clock) + SNAPSHOT_MAX;

        do {
                uint64_t done = load(&m->counters->done), begun = load(&m->counters->begun), building;
                int r;

                /* In this order: .done never overtakes .begun, so if they are equal no program was at work between. */
                if (done != begun) {
                        sched_yield();
                        continue;
                }
                r = read_tds(m, records);
                building = load(&m->counters->building);
                if (load(&m->counters->begun) != begun || r == -EAGAIN)
                        continue;
                if (r < 0)
                        return r;
                if (count_building(records) != building)
                        return -EBADMSG;

                *ret = g_steal_pointer(&records);
                *ret_generation = begun;
                return 0;
        } while (clock_boottime(&system_clock) < deadline);

        return -EAGAIN;
}

int probe_maps_lost(const ProbeMaps *m, uint64_t *ret) {
        uint64_t lost = load(&m->counters->lost);

        /* The kernel runs no tracing program where another one is at work, and counts that. */
        for (size_t i = 0; i < PROBES_COUNT; i++) {
                struct bpf_prog_info program;
                struct link_info link;
                int r;

                r = program_info(m->programs[i], &program);
                if (r >= 0)
                        r = link_info(m->links[i], &link);
                if (r < 0)
                        return r;
                lost += program.recursion_misses;
                /* Of another kind of link there is something else in this place. */
                if (link.type == BPF_LINK_TYPE_KPROBE_MULTI)
                        lost += link.missed;
        }

        *ret = lost;
        return 0;
}
