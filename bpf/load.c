/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "builds-map.h"
#include "builds.skel.h"
#include "load.h"

typedef struct builds_bpf BuildsBpf;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BuildsBpf, builds_bpf__destroy)

/* What is being pinned, until it is complete. A BPF file system takes no name with a dot (bpf_lookup() in kernel/bpf/inode.c). */
#define UNFINISHED "-new"

typedef struct Probe {
        const char *name, *function;
        bool at_return;
        struct bpf_program *program;
        struct bpf_link **link;         /* in the skeleton, which takes it down */
} Probe;

static void list_probes(BuildsBpf *b, Probe ret[static PROBES_COUNT]) {
        const Probe probes[] = {
#define PROBE(name, program, function, at_return) { name, function, at_return, b->progs.program, &b->links.program },
                PROBES(PROBE)
#undef PROBE
        };
        G_STATIC_ASSERT(G_N_ELEMENTS(probes) == PROBES_COUNT);

        for (size_t i = 0; i < PROBES_COUNT; i++)
                ret[i] = probes[i];
}

static const char *hint(int error) {
        switch (error) {
        case EPERM:
        case EACCES:
                return "; it needs CAP_BPF and CAP_PERFMON, as tdx-updated-probe.service has them";
        case ENOSYS:
                return "; this kernel is built without BPF (CONFIG_BPF_SYSCALL)";
        case EOPNOTSUPP:
                return "; this kernel is built without fprobes (CONFIG_FPROBE)";
        default:
                return "; --log-level=debug shows what libbpf says of it";
        }
}

static struct bpf_link *attach_kprobe_multi(struct bpf_program *program, const char *function, bool at_return) {
        LIBBPF_OPTS(bpf_kprobe_multi_opts, options, .syms = &function, .cnt = 1, .retprobe = at_return);

        /* By name: the pattern that libbpf can resolve by itself makes it read /proc/kallsyms, which units may not. */
        return bpf_program__attach_kprobe_multi_opts(program, NULL, &options);
}

const ProbeAttach kprobe_multi = { BPF_TRACE_KPROBE_MULTI, attach_kprobe_multi };

static int load_all(BuildsBpf *b, const ProbeAttach *how) {
        Probe probes[PROBES_COUNT];
        int r = 0;

        list_probes(b, probes);
        for (size_t i = 0; i < PROBES_COUNT && r >= 0; i++)
                r = bpf_program__set_expected_attach_type(probes[i].program, how->type);
        if (r >= 0)
                r = builds_bpf__load(b);
        return r < 0 ? log_error(-r, "Failed to load the probes%s", hint(-r)) : 0;
}

static int attach_all(BuildsBpf *b, const ProbeAttach *how, const char **ret_function) {
        Probe probes[PROBES_COUNT];

        list_probes(b, probes);
        for (size_t i = 0; i < PROBES_COUNT; i++) {
                int r;

                *probes[i].link = how->attach(probes[i].program, probes[i].function, probes[i].at_return);
                r = *probes[i].link ? 0 : -errno;
                /* ftrace_lookup_symbols() in kernel/trace/ftrace.c: not all of the names are there. */
                if (r == -ESRCH) {
                        *ret_function = probes[i].function;
                        return LOAD_NO_FUNCTION;
                }
                if (r < 0)
                        return log_error(-r, "Failed to attach a probe to %s()%s", probes[i].function, hint(-r));
        }
        return LOAD_DONE;
}

/*
 * Field by field, since the programs already count in the same page; then nobody can write to it any more but they. A map
 * that somebody has mapped for writing cannot be frozen (map_freeze() in kernel/bpf/syscall.c).
 */
static int write_facts(BuildsBpf *b, const LoadOptions *o) {
        int fd = bpf_map__fd(b->maps.counters);
        struct probe_counters *counters;
        int r;

        counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (counters == MAP_FAILED)
                return log_error(errno, "Failed to map the probes' counters");

        counters->attached = clock_boottime(&system_clock) * 1000;
        if (o->no_td(o->userdata))
                counters->flags = PROBE_COMPLETE;
        counters->version = PROBE_VERSION;
        counters->magic = PROBE_MAGIC;
        munmap(counters, sizeof(*counters));

        r = bpf_map_freeze(fd);
        return r < 0 ? log_error(-r, "Failed to freeze the probes' counters") : 0;
}

static int pin(int fd, const char *directory, const char *prefix, const char *name) {
        g_autofree char *path = g_strdup_printf("%s/%s%s", directory, prefix, name);
        int r;

        r = bpf_obj_pin(fd, path);
        return r < 0 ? log_error(-r, "Failed to pin %s", path) : 0;
}

static int pin_all(BuildsBpf *b, const char *directory) {
        Probe probes[PROBES_COUNT];
        int r;

        if (mkdir(directory, 0700) < 0)
                return log_error(errno, "Failed to make %s", directory);

        r = pin(bpf_map__fd(b->maps.counters), directory, "", PROBE_PIN_COUNTERS);
        if (r >= 0)
                r = pin(bpf_map__fd(b->maps.tds), directory, "", PROBE_PIN_TDS);
        if (r >= 0)
                r = pin(bpf_map__fd(b->maps.events), directory, "", PROBE_PIN_EVENTS);

        list_probes(b, probes);
        for (size_t i = 0; i < PROBES_COUNT && r >= 0; i++) {
                r = pin(bpf_program__fd(probes[i].program), directory, PROBE_PIN_PROGRAM, probes[i].name);
                if (r >= 0)
                        r = pin(bpf_link__fd(*probes[i].link), directory, PROBE_PIN_LINK, probes[i].name);
        }
        return r;
}

static bool is_ours(const char *name) {
        return g_str_equal(name, PROBE_PIN_COUNTERS) || g_str_equal(name, PROBE_PIN_TDS) || g_str_equal(name, PROBE_PIN_EVENTS) ||
               g_str_has_prefix(name, PROBE_PIN_PROGRAM) || g_str_has_prefix(name, PROBE_PIN_LINK);
}

/* Only what is ours, also of other versions: a directory that was named by mistake keeps what is in it. */
static int remove_directory(const char *path) {
        g_autoptr(GDir) dir = NULL;
        const char *name;

        dir = g_dir_open(path, 0, NULL);
        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *file = g_build_filename(path, name, NULL);

                if (is_ours(name) && unlink(file) < 0 && errno != ENOENT)
                        return log_error(errno, "Failed to remove %s", file);
        }

        if (rmdir(path) >= 0)
                return 1;
        return errno == ENOENT ? 0 : log_error(errno, "Failed to remove %s", path);
}

static int on_libbpf(enum libbpf_print_level level, const char *format, va_list ap) {
        g_autofree char *text = g_strdup_vprintf(format, ap);

        /* What fails is told with its reason where it is known. */
        if (level != LIBBPF_DEBUG)
                log_debug("%s", g_strchomp(text));
        return 0;
}

int probes_load(const LoadOptions *o, const char **ret_function) {
        g_autofree char *unfinished = g_strconcat(o->pins, UNFINISHED, NULL);
        g_autoptr(BuildsBpf) b = NULL;
        int r;

        libbpf_set_print(on_libbpf);
        /* A loader that was killed has left it. */
        r = remove_directory(unfinished);
        if (r < 0)
                return r;

        b = builds_bpf__open();
        if (!b)
                return log_error(errno, "Failed to open the probes");
        r = load_all(b, o->attach);
        if (r < 0)
                return r;
        r = attach_all(b, o->attach, ret_function);
        if (r != LOAD_DONE)
                return r;

        r = write_facts(b, o);
        if (r >= 0)
                r = pin_all(b, unfinished);
        if (r >= 0)
                r = remove_directory(o->pins);
        if (r >= 0 && rename(unfinished, o->pins) < 0)
                r = log_error(errno, "Failed to rename %s", unfinished);
        if (r < 0) {
                (void) remove_directory(unfinished);
                return r;
        }
        return LOAD_DONE;
}

int probes_remove(const char *pins) {
        g_autofree char *unfinished = g_strconcat(pins, UNFINISHED, NULL);
        int r;

        r = remove_directory(unfinished);
        return r < 0 ? r : remove_directory(pins);
}

int probes_lock(const char *pins, int *ret_fd) {
        g_autofree char *above = g_path_get_dirname(pins);
        _cleanup_close_ int fd = -1;
        struct statfs fs;

        fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return log_error(errno, "Failed to open %s", above);
        if (fstatfs(fd, &fs) < 0)
                return log_error(errno, "Failed to look at %s", above);
        if (fs.f_type != BPF_FS_MAGIC)
                return log_error(ENOTSUP, "%s is not on a BPF file system; mount one there (mount -t bpf bpf %s)", above, above);
        if (flock(fd, LOCK_EX) < 0)
                return log_error(errno, "Failed to lock %s", above);

        *ret_fd = steal_fd(&fd);
        return 0;
}
