/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "base/fileio.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/names.h"
#include "base/span.h"
#include "config.h"
#include "platform/build-gate.h"

#define CONFIG_FILE_MAX (256U * 1024U)

/* A setter: NULL when the value is good, else what a good one looks like. An empty value is the default. */
typedef const char *(*Setter)(Config *config, const char *value);
typedef char *(*Getter)(const Config *config);

static const char *set_directory(Config *c, const char *value) {
        unsigned n = g_strv_length(c->catalogue_directories);

        if (!*value) {
                g_strfreev(c->catalogue_directories);
                c->catalogue_directories = g_new0(char *, 1);
                return NULL;
        }
        if (!g_path_is_absolute(value))
                return "an absolute path";

        c->catalogue_directories = g_renew(char *, c->catalogue_directories, n + 2);
        c->catalogue_directories[n] = g_strdup(value);
        c->catalogue_directories[n + 1] = NULL;
        return NULL;
}

static char *get_directory(const Config *c) {
        return g_strjoinv(" ", c->catalogue_directories);
}

#define WINDOW_TEXT "a calendar expression of systemd.time(7) and a duration, such as \"Sat,Sun 02:00 4h\""

static void clear_windows(Config *c) {
        for (size_t i = 0; i < c->n_windows; i++)
                window_free(c->windows[i]);
        g_clear_pointer(&c->windows, g_free);
        c->n_windows = 0;
}

/* Interned, since it is not the same each time: the texts of the mistakes in a file are few. */
static const char *explain_window(const char *problem) {
        g_autofree char *text = g_strdup_printf(WINDOW_TEXT ", but %s", problem);

        return g_intern_string(text);
}

static const char *set_window(Config *c, const char *value) {
        g_autofree char *problem = NULL;
        Window *window;

        if (!*value) {
                clear_windows(c);
                return NULL;
        }
        if (window_parse(value, &window, &problem) < 0)
                return explain_window(problem);

        c->windows = g_renew(Window *, c->windows, c->n_windows + 1);
        c->windows[c->n_windows++] = window;
        return NULL;
}

static char *get_window(const Config *c) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (size_t i = 0; i < c->n_windows; i++)
                g_string_append_printf(text, "%s%s", i > 0 ? "; " : "", window_text(c->windows[i]));

        return g_string_free(g_steal_pointer(&text), FALSE);
}

static const char *set_gate(Config *c, const char *value) {
        if (strcmp(value, "no") != 0 && strcmp(value, "misc") != 0)
                return "no or misc";
        c->build_gate = strcmp(value, "misc") == 0;
        return NULL;
}

static char *get_gate(const Config *c) {
        return g_strdup(c->build_gate ? "misc" : "no");
}

static const char *set_gate_group(Config *c, const char *value) {
        unsigned n = g_strv_length(c->build_gate_groups);

        if (!*value) {
                g_strfreev(c->build_gate_groups);
                c->build_gate_groups = g_new0(char *, 1);
                return NULL;
        }
        if (!build_gate_group_is_valid(value))
                return "a path below the cgroup root, such as machine.slice (no / at its begin or end, no . or ..)";

        c->build_gate_groups = g_renew(char *, c->build_gate_groups, n + 2);
        c->build_gate_groups[n] = g_strdup(value);
        c->build_gate_groups[n + 1] = NULL;
        return NULL;
}

static char *get_gate_group(const Config *c) {
        return g_strjoinv(" ", c->build_gate_groups);
}

#define SIGNER_TEXT "96 hexadecimal digits, the SHA-384 of an RSA modulus (tdxctl inspect shows an image's signer)"

static const char *set_signer(Config *c, const char *value) {
        uint8_t signer[SIGNER_SIZE];

        if (!*value) {
                g_clear_pointer(&c->signers, g_free);
                c->n_signers = 0;
                return NULL;
        }
        if (strlen(value) != 2 * SIGNER_SIZE)
                return SIGNER_TEXT;
        for (unsigned i = 0; i < SIGNER_SIZE; i++) {
                int high = g_ascii_xdigit_value(value[2 * i]), low = g_ascii_xdigit_value(value[2 * i + 1]);

                if (high < 0 || low < 0)
                        return SIGNER_TEXT;
                signer[i] = (uint8_t) (high << 4 | low);
        }

        c->signers = g_realloc_n(c->signers, c->n_signers + 1, SIGNER_SIZE);
        memcpy(c->signers[c->n_signers++], signer, SIGNER_SIZE);
        return NULL;
}

static char *get_signer(const Config *c) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (unsigned i = 0; i < c->n_signers; i++) {
                g_autofree char *hex = hex_format(c->signers[i], SIGNER_SIZE);

                g_string_append_printf(text, "%s%s", i > 0 ? " " : "", hex);
        }

        return g_string_free(g_steal_pointer(&text), FALSE);
}

static const char *parse_number(const char *value, unsigned min, unsigned max, const char *range, unsigned *ret) {
        uint64_t number;

        if (parse_u64(value, &number) < 0 || number < min || number > max)
                return range;
        *ret = (unsigned) number;
        return NULL;
}

static const char *parse_flag(const char *value, bool *ret) {
        static const char *const yes[] = { "yes", "true", "on", "1", NULL }, *const no[] = { "no", "false", "off", "0", NULL };

        if (!g_strv_contains(yes, value) && !g_strv_contains(no, value))
                return "yes or no";
        *ret = g_strv_contains(yes, value);
        return NULL;
}

static const char *parse_span(const char *value, uint64_t *ret) {
        if (span_parse(value, ret) < 0 || *ret == 0)
                return "a time span above 0, such as 30s or 2min, or infinity";
        return NULL;
}

#define NUMBER(name, field, min, max)                                           \
        static const char *set_##name(Config *c, const char *value) {           \
                return parse_number(value, min, max, "a whole number from " #min " to " #max, &c->field);                \
        }                                                                       \
        static char *get_##name(const Config *c) {                              \
                return g_strdup_printf("%u", c->field);                         \
        }
#define FLAG(name, field)                                                       \
        static const char *set_##name(Config *c, const char *value) {           \
                return parse_flag(value, &c->field);                            \
        }                                                                       \
        static char *get_##name(const Config *c) {                              \
                return g_strdup(c->field ? "yes" : "no");                       \
        }
#define SPAN(name, field)                                                       \
        static const char *set_##name(Config *c, const char *value) {           \
                return parse_span(value, &c->field);                            \
        }                                                                       \
        static char *get_##name(const Config *c) {                              \
                return span_format(c->field);                                   \
        }

NUMBER(keep, policy.keep_remaining, 0, 1000000)
NUMBER(refused, refused_retries, 0, 100)
NUMBER(jobs, max_jobs, 1, 10000)
NUMBER(user_jobs, max_jobs_per_user, 1, 10000)
FLAG(exact, policy.require_exact_stepping)
FLAG(debug, policy.allow_debug)
SPAN(deadline, default_deadline)
SPAN(timeout, attempt_timeout)
SPAN(stale, stale_guest)
SPAN(quiet, quiet)
SPAN(hold, hold_max)
SPAN(drain_after, drain_after)
SPAN(drain_max, drain_max)
SPAN(build_wait, build_wait_max)
SPAN(build_hold, build_hold_max)
NUMBER(holds, max_holds, 1, 250)
NUMBER(user_holds, max_holds_per_user, 1, 250)

static const char *set_level(Config *c, const char *value) {
        int level = log_level_from_string(value);

        if (level < 0)
                return "err, warning, notice, info or debug";
        c->log_level = level;
        return NULL;
}

static char *get_level(const Config *c) {
        return g_strdup(log_level_to_string(c->log_level));
}

static const ConfigKey keys[] = {
        { "CatalogueDirectory", "", "A directory with TDX module images and their mapping_file.json, after those that are built in; may be given more than once." },
        { "TrustedSigner", "", "SHA-384 of an RSA modulus whose signature is trusted beside Intel's; may be given more than once." },
        { "KeepRemaining", "1", "How many updates must be left after an update; only a reboot gives new ones." },
        { "RequireExactStepping", "no", "Whether a CPU whose stepping the image does not list blocks an update, or is only shown." },
        { "AllowDebugImages", "no", "Whether debug modules, in which no TD is confidential, may be installed." },
        { "DefaultDeadlineSec", "infinity", "After this time a job that has found no window ends as expired, unless it has a deadline of its own." },
        { "AttemptTimeoutSec", "2min", "After this time an attempt that the kernel has not ended counts as stuck." },
        { "RefusedRetries", "2", "How many more attempts follow when the kernel refuses an image that was verified." },
        { "MaxJobs", "64", "How many unfinished jobs there may be." },
        { "MaxJobsPerUser", "16", "How many unfinished jobs one user may have." },
        { "StaleGuestSec", "10min", "A VM without a sign of running for longer than this is named with what can be done about it; it blocks on, unless it is proven that it has begun no TD." },
        { "QuietSec", "infinity", "Without better evidence, guess that no TD is being built when no VM was made for this long; infinity: never guess." },
        { "HoldMaxSec", "30s", "How long those who delay updates have, after PrepareForUpdate, to let go." },
        { "DrainAfterSec", "infinity", "After this time a waiting job keeps new builds off, so that a moment without one comes; infinity: only if asked to (drain)." },
        { "DrainMaxSec", "2min", "How long new builds are kept off at a time." },
        { "BuildWaitMaxSec", "1min", "How long an announced build can be made to wait for an update, at most." },
        { "BuildHoldMaxSec", "10min", "How long an announced build can keep updates off without a further sign, at most." },
        { "MaxHolds", "200", "How many holds there may be; each takes two descriptors of the service's fd store." },
        { "MaxHoldsPerUser", "50", "How many holds one user may have." },
        { "MaintenanceWindow", "", "When updates may start: a calendar expression of systemd.time(7) and a duration, such as Sat,Sun 02:00 4h; may be given more than once. None: always." },
        { "BuildGate", "no", "misc: while an update begins, the kernel refuses to begin TDs in the cgroups of BuildGateCGroup= (doc/build-gate.md says what that needs, and costs); no: it does not." },
        { "BuildGateCGroup", "machine.slice", "A cgroup, as a path below the cgroup root, in which and below which VMs are started; may be given more than once." },
        { "LogLevel", "info", "The least severe messages to log: err, warning, notice, info or debug." },
};

static const struct {
        Setter set;
        Getter get;
        bool list;              /* an empty value empties it, and does not bring the default back */
} accessors[G_N_ELEMENTS(keys)] = {
        { set_directory, get_directory, true }, { set_signer, get_signer, true }, { set_keep, get_keep },       { set_exact, get_exact },
        { set_debug, get_debug },         { set_deadline, get_deadline }, { set_timeout, get_timeout }, { set_refused, get_refused },
        { set_jobs, get_jobs },           { set_user_jobs, get_user_jobs }, { set_stale, get_stale }, { set_quiet, get_quiet },
        { set_hold, get_hold },           { set_drain_after, get_drain_after }, { set_drain_max, get_drain_max },
        { set_build_wait, get_build_wait }, { set_build_hold, get_build_hold }, { set_holds, get_holds },
        { set_user_holds, get_user_holds }, { set_window, get_window, true }, { set_gate, get_gate },
        { set_gate_group, get_gate_group, true }, { set_level, get_level },
};

const ConfigKey *config_keys(size_t *ret_n) {
        *ret_n = G_N_ELEMENTS(keys);
        return keys;
}

char *config_value(const Config *config, const ConfigKey *key) {
        return accessors[key - keys].get(config);
}

const char *config_source(const Config *config, const ConfigKey *key) {
        return g_hash_table_lookup(config->sources, key->name) ?: "";
}

Config *config_free(Config *config) {
        if (!config)
                return NULL;

        g_strfreev(config->catalogue_directories);
        g_free(config->signers);
        clear_windows(config);
        g_strfreev(config->build_gate_groups);
        g_clear_pointer(&config->sources, g_hash_table_unref);
        g_free(config->fingerprint);
        g_free(config);
        return NULL;
}

static Config *config_new(char **directories) {
        static const char *const built_in[] = { CATALOGUE_DIRECTORIES, NULL };
        Config *c = g_new0(Config, 1);

        c->catalogue_directories = g_strdupv(directories ?: (char **) built_in);
        c->build_gate_groups = g_new0(char *, 1);
        c->sources = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
                if (*keys[i].fallback)
                        (void) accessors[i].set(c, keys[i].fallback);

        return c;
}

static void problem(ConfigProblems *problems, const char *file, unsigned line, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

static void problem(ConfigProblems *problems, const char *file, unsigned line, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_ptr_array_add(problems, line > 0 ? g_strdup_printf("%s:%u: %s", file, line, text) : g_strdup_printf("%s: %s", file, text));
}

static void assign(Config *c, const char *file, unsigned line, const char *name, const char *value, ConfigProblems *problems) {
        const char *wanted;

        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
                if (strcmp(keys[i].name, name) != 0)
                        continue;

                wanted = accessors[i].set(c, *value || accessors[i].list ? value : keys[i].fallback);
                if (wanted)
                        problem(problems, file, line, "%s= does not take \"%s\"; it takes %s", name, value, wanted);
                else
                        g_hash_table_replace(c->sources, (char *) keys[i].name, g_strdup_printf("%s:%u", file, line));
                return;
        }

        problem(problems, file, line, "There is no key %s=; tdx-updated --help lists the keys", name);
}

static void parse_text(Config *c, const char *file, char *text, ConfigProblems *problems) {
        g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
        bool in_section = false;

        for (unsigned i = 0; lines[i]; i++) {
                char *line = g_strstrip(lines[i]), *equals;

                if (!*line || *line == '#' || *line == ';')
                        continue;
                if (*line == '[') {
                        in_section = strcmp(line, "[Update]") == 0;
                        if (!in_section)
                                problem(problems, file, i + 1, "There is no section %s; the only one is [Update]", line);
                        continue;
                }

                equals = strchr(line, '=');
                if (!equals) {
                        problem(problems, file, i + 1, "\"%s\" is neither a section nor Key=value", line);
                        continue;
                }
                *equals = '\0';
                if (!in_section)
                        problem(problems, file, i + 1, "%s= stands outside of the section [Update]", g_strchomp(line));
                else
                        assign(c, file, i + 1, g_strchomp(line), g_strchug(equals + 1), problems);
        }
}

static int parse_file(Config *c, const char *file, bool optional, ConfigProblems *problems) {
        g_autofree char *text = NULL;
        size_t size;
        int r;

        r = read_file_at(AT_FDCWD, file, CONFIG_FILE_MAX, &text, &size);
        if (r == -ENOENT && optional)
                return 0;
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                problem(problems, file, 0, "Cannot be read: %s", g_strerror(-r));
        else if (strlen(text) != size || !g_utf8_validate(text, -1, NULL))
                problem(problems, file, 0, "Is no text (it has a NUL byte or no valid UTF-8)");
        else
                parse_text(c, file, text, problems);

        return 0;
}

/* The drop-ins in their order; of two with one name the first directory's counts. */
static GPtrArray *find_drop_ins(void) {
        static const char *const directories[] = {
                "/etc/" CONFIG_NAME "/" CONFIG_NAME ".conf.d",
                "/run/" CONFIG_NAME "/" CONFIG_NAME ".conf.d",
                "/usr/lib/" CONFIG_NAME "/" CONFIG_NAME ".conf.d",
        };
        g_autoptr(GHashTable) by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_autoptr(GList) names = NULL;
        GPtrArray *files = g_ptr_array_new_with_free_func(g_free);

        for (size_t i = 0; i < G_N_ELEMENTS(directories); i++) {
                g_autoptr(GDir) dir = g_dir_open(directories[i], 0, NULL);
                const char *name;

                while (dir && (name = g_dir_read_name(dir)))
                        if (g_str_has_suffix(name, ".conf") && !g_hash_table_contains(by_name, name))
                                g_hash_table_insert(by_name, g_strdup(name), g_build_filename(directories[i], name, NULL));
        }

        names = g_list_sort(g_hash_table_get_keys(by_name), (GCompareFunc) strcmp);
        for (GList *l = names; l; l = l->next)
                g_ptr_array_add(files, g_strdup(g_hash_table_lookup(by_name, l->data)));

        return files;
}

/* What decides about a plan; how much is logged, or how many jobs there may be, does not. */
static void make_fingerprint(Config *c) {
        static const Getter deciding[] = { get_directory, get_signer, get_keep, get_exact, get_debug };
        g_autoptr(GString) text = g_string_new(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(deciding); i++) {
                g_autofree char *value = deciding[i](c);

                g_string_append_printf(text, "%s\n", value);
        }

        c->fingerprint = g_string_free(g_steal_pointer(&text), FALSE);
}

int config_load(const char *file, char **directories, Config **ret, ConfigProblems **ret_problems) {
        g_autoptr(Config) config = config_new(directories);
        g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
        int r;

        r = parse_file(config, file ?: "/etc/" CONFIG_NAME "/" CONFIG_NAME ".conf", !file, problems);
        if (r < 0)
                return r;

        if (!file) {
                g_autoptr(GPtrArray) drop_ins = find_drop_ins();

                for (unsigned i = 0; i < drop_ins->len; i++) {
                        r = parse_file(config, drop_ins->pdata[i], false, problems);
                        if (r < 0)
                                return r;
                }
        }

        if (config->build_gate && !*config->build_gate_groups)
                problem(problems, g_hash_table_lookup(config->sources, "BuildGate"), 0, "BuildGate=misc closes nothing without a BuildGateCGroup=");
        if (problems->len > 0) {
                *ret_problems = g_steal_pointer(&problems);
                return -EINVAL;
        }

        make_fingerprint(config);
        *ret = g_steal_pointer(&config);
        return 0;
}
