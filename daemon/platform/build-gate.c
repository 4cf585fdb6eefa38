/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fileio.h"
#include "base/log.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/build-gate.h"

/*
 * Before the first group is touched, every value that will be overwritten is saved. Each is put back only where the file
 * still has the 0 that was written here, so that a crash at any step, and a value that an administrator sets meanwhile, lose
 * nothing: a group that was saved but not lowered yet has its own value and is left alone. (Not to be told apart: that
 * somebody else writes 0 while it is closed.)
 */

#define TEXT_BEGIN "tdx-build-gate 1\n"
#define NO_LIMIT UINT64_MAX             /* "max": misc.c keeps U64_MAX */
#define FILE_SIZE 4096U                 /* a line for each resource; there are three */
#define SETTLE_TRIES 3U

typedef struct Entry {
        char *group;
        uint64_t max;           /* what it was */
        uint64_t events;        /* refusals before it was closed */
        bool done;              /* its value is its own again, or was never touched */
} Entry;

struct BuildGate {
        BuildGateRequest request;       /* without the groups */
        GPtrArray *entries;
};

static void entry_free(Entry *entry) {
        g_free(entry->group);
        g_free(entry);
}

static BuildGate *gate_new(const BuildGateRequest *request) {
        BuildGate *gate = g_new0(BuildGate, 1);

        gate->request = *request;
        gate->request.groups = NULL;
        gate->request.saved = NULL;
        gate->entries = g_ptr_array_new_with_free_func((GDestroyNotify) entry_free);
        return gate;
}

static void gate_drop(BuildGate *gate) {
        g_ptr_array_unref(gate->entries);
        g_free(gate);
}

static Entry *add_entry(BuildGate *gate, const char *group, uint64_t max) {
        Entry *entry = g_new0(Entry, 1);

        entry->group = g_strdup(group);
        entry->max = max;
        g_ptr_array_add(gate->entries, entry);
        return entry;
}

/* The kernel takes no line feed in a cgroup's name (cgroup_mkdir()), so one line holds a path. */
bool build_gate_group_is_valid(const char *group) {
        g_auto(GStrv) names = g_strsplit(group, "/", -1);

        if (!*names || strlen(group) >= PATH_MAX / 2)
                return false;
        for (char **name = names; *name; name++) {
                if (!**name || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
                        return false;
                for (const char *p = *name; *p; p++)
                        if (g_ascii_iscntrl(*p))
                                return false;
        }
        return true;
}

/* The path comes from the configuration, or from the database; neither may lead out of the cgroup root. */
static int open_file(const BuildGate *gate, const char *group, const char *name, uint64_t flags) {
        g_autofree char *path = g_strdup_printf("%s/%s", group, name);
        struct open_how how = { .flags = flags | O_CLOEXEC | O_NOCTTY, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
        long fd;

        if (gate->request.roots->cgroup_fd < 0)
                return -ENOENT;
        fd = syscall(SYS_openat2, gate->request.roots->cgroup_fd, path, &how, sizeof(how));
        return fd < 0 ? -errno : (int) fd;
}

/* The line of @key: a number, or "max". -ENODATA when there is none. */
static int read_value(const BuildGate *gate, const char *group, const char *name, const char *key, uint64_t *ret) {
        g_autofree char *text = g_malloc(FILE_SIZE + 1);
        _cleanup_close_ int fd = -1;
        char *save = NULL;
        size_t size;
        int r;

        fd = open_file(gate, group, name, O_RDONLY);
        if (fd < 0)
                return fd;
        r = read_from_start(fd, text, FILE_SIZE, &size);
        if (r < 0)
                return r;
        text[size] = '\0';

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (!g_str_has_prefix(line, key) || line[strlen(key)] != ' ')
                        continue;
                line += strlen(key) + 1;
                if (strcmp(line, "max") == 0) {
                        *ret = NO_LIMIT;
                        return 0;
                }
                return parse_u64(line, ret) < 0 ? -EBADMSG : 0;
        }

        return -ENODATA;
}

static int read_max(const BuildGate *gate, const char *group, uint64_t *ret) {
        return read_value(gate, group, ABI_MISC_MAX, "tdx", ret);
}

static char *format_max(uint64_t max) {
        return max == NO_LIMIT ? g_strdup("max") : g_strdup_printf("%" PRIu64, max);
}

/* One write(2): misc_cg_max_write() takes "NAME VALUE". Read back, since what was not taken must not be thought closed. */
static int write_max(const BuildGate *gate, const char *group, uint64_t max) {
        g_autofree char *value = format_max(max), *text = g_strdup_printf("tdx %s", value);
        _cleanup_close_ int fd = -1;
        uint64_t now;
        ssize_t n;
        int r;

        fd = open_file(gate, group, ABI_MISC_MAX, O_WRONLY);
        if (fd < 0)
                return fd;
        do
                n = write(fd, text, strlen(text));
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        if ((size_t) n != strlen(text))
                return -EIO;

        r = read_max(gate, group, &now);
        if (r < 0)
                return r;
        return now == max ? 0 : -EIO;
}

/* kernfs gives ENODEV for a file that was open when its cgroup went; a new one of that name begins with "max". */
static bool is_gone(int r) {
        return r == -ENOENT || r == -ENODEV || r == -ENOTDIR;
}

static uint64_t read_events(const BuildGate *gate, const char *group) {
        uint64_t events;

        return read_value(gate, group, ABI_MISC_EVENTS_LOCAL, "tdx.max", &events) < 0 ? 0 : events;
}

static int save(BuildGate *gate) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (unsigned i = 0; i < gate->entries->len; i++) {
                const Entry *entry = gate->entries->pdata[i];
                g_autofree char *max = format_max(entry->max);

                if (!entry->done)
                        g_string_append_printf(text, "%s %s\n", max, entry->group);
        }
        if (text->len > 0)
                g_string_prepend(text, TEXT_BEGIN);

        return gate->request.save(text->str, gate->request.userdata);
}

/* Only what is nobody else's since: see above. */
static int put_back(const BuildGate *gate, Entry *entry) {
        uint64_t now;
        int r;

        r = read_max(gate, entry->group, &now);
        if (r >= 0 && now == 0)
                r = write_max(gate, entry->group, entry->max);
        if (r < 0 && !is_gone(r))
                return r;

        entry->done = true;
        return 0;
}

static int put_all_back(BuildGate *gate) {
        bool any = false;
        int r = 0, q;

        for (unsigned i = 0; i < gate->entries->len; i++) {
                Entry *entry = gate->entries->pdata[i];

                if (entry->done)
                        continue;
                any = true;
                q = put_back(gate, entry);
                r = r < 0 ? r : q;
        }
        if (!any)
                return 0;

        q = save(gate);
        return r < 0 ? r : q;
}

/* As late as can be: somebody may have set another value since it was saved. */
static int settle(BuildGate *gate, Entry *entry) {
        for (unsigned i = 0; i < SETTLE_TRIES; i++) {
                uint64_t now;
                int r;

                r = read_max(gate, entry->group, &now);
                if (r < 0)
                        return r;
                if (now == entry->max)
                        return 0;
                entry->max = now;
                entry->done = now == 0;
                r = save(gate);
                if (r < 0)
                        return r;
        }

        return -EAGAIN;
}

static int lower(BuildGate *gate, Entry *entry) {
        int r;

        r = settle(gate, entry);
        if (r < 0)
                return r;
        entry->events = read_events(gate, entry->group);
        return entry->max == 0 ? 0 : write_max(gate, entry->group, 0);
}

/* Below 0 by refused builds (see the header): the next charge makes it 0, which a maximum of 0 allows. */
static int check_count(const BuildGate *gate, const char *group) {
        uint64_t count;
        int r;

        r = read_value(gate, group, ABI_MISC_CURRENT, "tdx", &count);
        if (r < 0)
                return r;
        return count > INT64_MAX ? -EOVERFLOW : 0;
}

static int prepare(BuildGate *gate, char **groups, char **ret_group) {
        for (char **group = groups; *group; group++) {
                uint64_t max;
                int r;

                r = build_gate_group_is_valid(*group) ? read_max(gate, *group, &max) : -EINVAL;
                if (r >= 0)
                        r = check_count(gate, *group);
                if (r < 0) {
                        *ret_group = g_strdup(*group);
                        return r;
                }
                /* Closed already, by somebody else: nothing will have to be put back. */
                add_entry(gate, *group, max)->done = max == 0;
        }

        return save(gate);
}

int build_gate_close(const BuildGateRequest *request, BuildGate **ret, char **ret_group) {
        g_autoptr(BuildGate) gate = NULL;
        int r;

        *ret_group = NULL;
        if (request->saved && *request->saved) {
                r = build_gate_restore(request, request->saved);
                if (r < 0)
                        return r;
        }

        gate = gate_new(request);
        r = prepare(gate, request->groups, ret_group);
        if (r < 0) {
                gate_drop(g_steal_pointer(&gate));
                return r;
        }

        for (unsigned i = 0; i < gate->entries->len; i++) {
                Entry *entry = gate->entries->pdata[i];

                r = lower(gate, entry);
                if (r < 0) {
                        *ret_group = g_strdup(entry->group);
                        return r;       /* and the gate opens */
                }
        }

        *ret = g_steal_pointer(&gate);
        return 0;
}

int build_gate_open(BuildGate *gate) {
        return put_all_back(gate);
}

BuildGate *build_gate_leave(BuildGate *gate) {
        if (gate)
                gate_drop(gate);
        return NULL;
}

BuildGate *build_gate_free(BuildGate *gate) {
        int r;

        if (!gate)
                return NULL;

        r = put_all_back(gate);
        if (r < 0)
                log_error(-r, "Failed to let TD builds begin again by misc.max; it is tried again at the next start");
        gate_drop(gate);
        return NULL;
}

uint64_t build_gate_refused(BuildGate *gate) {
        uint64_t refused = 0;

        for (unsigned i = 0; i < gate->entries->len; i++) {
                const Entry *entry = gate->entries->pdata[i];
                uint64_t events = read_events(gate, entry->group);

                refused += events > entry->events ? events - entry->events : 0;
        }

        return refused;
}

static int parse_line(BuildGate *gate, const char *line) {
        const char *space = strchr(line, ' ');
        g_autofree char *value = NULL;
        uint64_t max = NO_LIMIT;

        if (!space || !build_gate_group_is_valid(space + 1))
                return -EBADMSG;
        value = g_strndup(line, (size_t) (space - line));
        if (strcmp(value, "max") != 0 && (parse_u64(value, &max) < 0 || max == 0 || max == NO_LIMIT))
                return -EBADMSG;

        (void) add_entry(gate, space + 1, max);
        return 0;
}

/* All of it or nothing: half a text would restore half of the groups and forget the others. */
static int parse_text(BuildGate *gate, const char *text) {
        g_auto(GStrv) lines = NULL;
        int r;

        if (!g_str_has_prefix(text, TEXT_BEGIN) || !g_str_has_suffix(text, "\n"))
                return -EBADMSG;

        lines = g_strsplit(text + strlen(TEXT_BEGIN), "\n", -1);
        for (char **line = lines; *line && line[1]; line++) {
                r = parse_line(gate, *line);
                if (r < 0)
                        return r;
        }

        return gate->entries->len > 0 ? 0 : -EBADMSG;
}

int build_gate_restore(const BuildGateRequest *request, const char *text) {
        BuildGate *gate;
        int r;

        if (!*text)
                return 0;

        gate = gate_new(request);
        r = parse_text(gate, text);
        if (r >= 0)
                r = put_all_back(gate);
        gate_drop(gate);
        return r;
}
