/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/util.h"
#include "platform/process.h"

/* NAME_MAX, which bounds units, and HOST_NAME_MAX, which bounds machines. */
#define UNIT_MAX 255U
#define MACHINE_MAX 64U

/* Where the fields are in /proc/PID/stat (proc(5)), counted from the one behind the name. */
#define FIRST_FIELD 3U
#define START_TIME (22U - FIRST_FIELD)
#define GUEST_TIME (43U - FIRST_FIELD)

static int read_proc(const Roots *roots, uint32_t pid, const char *file, char **ret, size_t *ret_size) {
        g_autofree char *path = g_strdup_printf("%" PRIu32 "/%s", pid, file);

        return read_file_at(roots->proc_fd, path, LIMIT_PROC_FILE, ret, ret_size);
}

/* What a process calls itself, or its cgroup is called, may be any bytes: it is going to be shown to people. */
static char *clean(const char *text, size_t size, size_t max) {
        g_autofree char *valid = g_utf8_make_valid(text, (gssize) size);
        g_autoptr(GString) out = g_string_new(NULL);

        for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
                gunichar c = g_utf8_get_char(p);

                if (out->len + (size_t) g_unichar_to_utf8(c, NULL) > max)
                        break;
                g_string_append_unichar(out, g_unichar_isprint(c) ? c : '?');
        }
        return g_string_free(g_steal_pointer(&out), false);
}

void process_stat_clear(ProcessStat *stat) {
        g_free(stat->name);
        *stat = (ProcessStat) {};
}

int process_stat_parse(const char *text, size_t size, ProcessStat *ret) {
        const char *open = memchr(text, '(', size), *close = memrchr(text, ')', size);
        g_auto(GStrv) fields = NULL;
        uint64_t start_time, guest_time;

        /* The name may hold brackets, spaces and newlines, what follows does not: the last bracket ends it. */
        if (!open || !close || close < open || close + 1 >= text + size || close[1] != ' ')
                return -EBADMSG;

        fields = g_strsplit(close + 2, " ", GUEST_TIME + 2);
        if (g_strv_length(fields) <= GUEST_TIME || parse_u64(fields[START_TIME], &start_time) < 0)
                return -EBADMSG;
        fields[GUEST_TIME][strcspn(fields[GUEST_TIME], "\n")] = '\0';
        if (parse_u64(fields[GUEST_TIME], &guest_time) < 0)
                return -EBADMSG;

        *ret = (ProcessStat) {
                .name = clean(open + 1, (size_t) (close - open - 1), UNIT_MAX),
                .start_time = start_time,
                .guest_time = guest_time,
        };
        return 0;
}

int process_stat_read(const Roots *roots, uint32_t pid, ProcessStat *ret) {
        g_autofree char *text = NULL;
        size_t size;
        int r;

        r = read_proc(roots, pid, "stat", &text, &size);
        return r < 0 ? r : process_stat_parse(text, size, ret);
}

/* In status the name is escaped, so nothing but the kernel's line begins with "Tgid:" (fs/proc/array.c). */
int process_of_thread(const Roots *roots, uint32_t tid, uint32_t *ret) {
        g_autofree char *text = NULL, *value = NULL;
        const char *line;
        uint64_t tgid;
        int r;

        r = read_proc(roots, tid, "status", &text, NULL);
        if (r < 0)
                return r;

        line = strstr(text, "\nTgid:");
        if (!line)
                return -EBADMSG;
        line += strlen("\nTgid:");
        line += strspn(line, "\t ");
        value = g_strndup(line, strcspn(line, "\n"));
        if (parse_u64(value, &tgid) < 0 || tgid == 0 || tgid > INT32_MAX)
                return -EBADMSG;

        *ret = (uint32_t) tgid;
        return 0;
}

static bool is_unit(const char *name) {
        return (g_str_has_suffix(name, ".service") && strlen(name) > strlen(".service")) ||
               (g_str_has_suffix(name, ".scope") && strlen(name) > strlen(".scope"));
}

/*
 * As systemd's cg_path_get_unit(): the first component below the slices. Whoever is given a cgroup (a user's own service
 * manager, a container) may name those further below as he likes, so they say nothing. A name that would be mistaken
 * for a file of the kernel's has a "_" before it (cg_escape()).
 */
char *process_unit_parse(const char *cgroup) {
        g_auto(GStrv) lines = g_strsplit(cgroup, "\n", -1), parts = NULL;
        const char *path = NULL;

        for (char **line = lines; *line && !path; line++)
                if (g_str_has_prefix(*line, "0::/"))
                        path = *line + strlen("0::/");
        if (!path)
                return g_strdup("");

        parts = g_strsplit(path, "/", -1);
        for (char **part = parts; *part; part++) {
                const char *name = **part == '_' ? *part + 1 : *part;
                g_autofree char *gone = g_str_has_suffix(name, " (deleted)") ? g_strndup(name, strlen(name) - strlen(" (deleted)")) : NULL;

                if (gone)
                        name = gone;
                if (g_str_has_suffix(name, ".slice"))
                        continue;
                return is_unit(name) ? clean(name, strlen(name), UNIT_MAX) : g_strdup("");
        }
        return g_strdup("");
}

/* machined names a machine's scope "machine-", the name as unit_name_escape() writes it, ".scope". */
char *process_machine_parse(const char *unit) {
        g_autoptr(GString) name = g_string_new(NULL);
        const char *end, *p;

        if (!g_str_has_prefix(unit, "machine-") || !g_str_has_suffix(unit, ".scope"))
                return g_strdup("");

        p = unit + strlen("machine-");
        end = unit + strlen(unit) - strlen(".scope");
        while (p < end) {
                char c = *p++;

                if (c == '\\') {
                        if (end - p < 3 || p[0] != 'x' || !g_ascii_isxdigit(p[1]) || !g_ascii_isxdigit(p[2]))
                                return g_strdup("");
                        c = (char) (g_ascii_xdigit_value(p[1]) << 4 | g_ascii_xdigit_value(p[2]));
                        p += 3;
                } else if (c == '-')
                        c = '/';

                /* What hostname_is_valid() lets pass; all else is no machine of machined's. */
                if (!g_ascii_isalnum(c) && c != '-' && c != '_' && c != '.')
                        return g_strdup("");
                g_string_append_c(name, c);
        }
        if (name->len > MACHINE_MAX)
                return g_strdup("");

        return g_string_free(g_steal_pointer(&name), false);
}

int process_unit_read(const Roots *roots, uint32_t pid, char **ret_unit, char **ret_machine) {
        g_autofree char *text = NULL;
        int r;

        r = read_proc(roots, pid, "cgroup", &text, NULL);
        if (r < 0)
                return r;

        *ret_unit = process_unit_parse(text);
        *ret_machine = process_machine_parse(*ret_unit);
        return 0;
}
