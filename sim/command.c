/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "sim/control.h"

/* The commands of "tdx-sim ctl", as the simulator carries them out, with the lock held. */

typedef struct Command {
        const char *name;
        const char *verb;       /* the second word, or NULL */
        unsigned min, max;      /* words after these */
        int (*run)(Host *host, uint64_t now, const char *const *args, GString *out);
        const char *usage;
} Command;

/* Gives *@text away. Bad input is 64, an honest "no" of the model is 1. */
static int answer(int r, char **text, GString *out) {
        g_autofree char *t = g_steal_pointer(text);

        if (r >= 0)
                return 0;
        g_string_append_printf(out, "%s\n", t ?: strerror(-r));
        return 1;
}

static int usage(GString *out, const char *format, const char *argument) G_GNUC_PRINTF(2, 0);
static int usage(GString *out, const char *format, const char *argument) {
        g_string_append_printf(out, format, argument);
        g_string_append_c(out, '\n');
        return EXIT_USAGE;
}

static int run_get(Host *host, uint64_t now, const char *const *args, GString *out) {
        if (!args[0]) {
                model_get_all(host->model, out);
                return 0;
        }
        if (model_get(host->model, args[0], out) < 0)
                return usage(out, "unknown key '%s'", args[0]);
        g_string_append_c(out, '\n');
        return 0;
}

static int run_set(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;
        int r;

        r = model_set(host->model, now, args, &text);
        if (r == -EINVAL || r == -ENOENT)
                return usage(out, "%s", text);
        return answer(r, &text, out);
}

/* As any other process would do it, through the same calls that the files make. */
static int run_upload(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *data = NULL, *text = NULL;
        Model *m = host->model;
        size_t size;
        int r;

        if (!model_has_upload(m))
                return answer(-ENODEV, &text, out);
        r = read_file_at(AT_FDCWD, args[0], 2 * LIMIT_IMAGE_SIZE, &data, &size);
        if (r < 0) {
                text = g_strdup_printf("%s: %s", args[0], strerror(-r));
                return answer(r, &text, out);
        }

        r = model_loading_store(m, now, "1", 1);
        for (size_t done = 0; r >= 0 && done < size;) {
                ssize_t n = model_data_write(m, now, (uint8_t *) data + done, size - done, done);

                if (n < 0)
                        r = (int) n;
                else
                        done += (size_t) n;
        }
        if (r >= 0)
                r = model_loading_store(m, now, "0", 1);
        return answer(r, &text, out);
}

static int parse_id(const char *word, const char *what, unsigned *ret, GString *out) {
        uint64_t value;

        if (parse_u64(word, &value) < 0 || value > INT32_MAX) {
                g_string_append_printf(out, "'%s' is no %s\n", word, what);
                return EXIT_USAGE;
        }
        *ret = (unsigned) value;
        return 0;
}

static int check_name(const char *name, GString *out) {
        bool ok = *name != '\0';

        for (const char *p = name; *p; p++)
                ok = ok && g_ascii_isgraph(*p);
        return ok ? 0 : usage(out, "'%s' is no name: letters, digits and signs only", name);
}

static int run_td_begin(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;
        unsigned pid;
        int r;

        r = check_name(args[0], out);
        if (r == 0)
                r = parse_id(args[1], "PID", &pid, out);
        if (r != 0)
                return r;
        return answer(model_td_begin(host->model, now, args[0], pid, &text), &text, out);
}

static int run_td_add(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;

        return answer(model_td_add(host->model, now, args[0], args[1], &text), &text, out);
}

static int run_td_finalize(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;

        return answer(model_td_finalize(host->model, now, args[0], &text), &text, out);
}

static int run_td_destroy(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;

        return answer(model_td_destroy(host->model, now, args[0], &text), &text, out);
}

static int parse_vm(const char *const *args, unsigned *ret_pid, unsigned *ret_fd, GString *out) {
        int r;

        r = parse_id(args[0], "PID", ret_pid, out);
        return r != 0 ? r : parse_id(args[1], "file descriptor", ret_fd, out);
}

static int run_vm_create(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;
        Vm vm = { .n_vcpus = 1 };
        int r;

        r = parse_vm(args, &vm.pid, &vm.fd, out);
        if (r == 0 && args[2])
                r = parse_id(args[2], "number of vCPUs", &vm.n_vcpus, out);
        if (r != 0)
                return r;
        if (vm.n_vcpus > 1024)
                return usage(out, "'%s' are too many vCPUs", args[2]);
        return answer(model_vm_create(host->model, now, &vm, &text), &text, out);
}

static int run_vm_run(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;
        unsigned pid, fd;
        int r;

        r = parse_vm(args, &pid, &fd, out);
        return r != 0 ? r : answer(model_vm_run(host->model, now, pid, fd, &text), &text, out);
}

static int run_vm_destroy(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_autofree char *text = NULL;
        unsigned pid, fd;
        int r;

        r = parse_vm(args, &pid, &fd, out);
        return r != 0 ? r : answer(model_vm_destroy(host->model, now, pid, fd, &text), &text, out);
}

static int run_tds(Host *host, uint64_t now, const char *const *args, GString *out) {
        model_td_list(host->model, out);
        return 0;
}

static int run_log(Host *host, uint64_t now, const char *const *args, GString *out) {
        g_string_append(out, model_log(host->model));
        return 0;
}

static const Command commands[] = {
        { "get", NULL, 0, 1, run_get, "get [KEY]" },
        { "set", NULL, 1, 1000, run_set, "set KEY=VALUE..." },
        { "upload", NULL, 1, 1, run_upload, "upload FILE" },
        { "td", "begin", 2, 2, run_td_begin, "td begin NAME PID" },
        { "td", "add", 2, 2, run_td_add, "td add NAME DATA" },
        { "td", "finalize", 1, 1, run_td_finalize, "td finalize NAME" },
        { "td", "destroy", 1, 1, run_td_destroy, "td destroy NAME" },
        { "vm", "create", 2, 3, run_vm_create, "vm create PID FD [VCPUS]" },
        { "vm", "run", 2, 2, run_vm_run, "vm run PID FD" },
        { "vm", "destroy", 2, 2, run_vm_destroy, "vm destroy PID FD" },
        { "tds", NULL, 0, 0, run_tds, "tds" },
        { "log", NULL, 0, 0, run_log, "log" },
};

static const Command *find(const char *const *words) {
        for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
                const Command *c = &commands[i];

                if (!words[0] || strcmp(words[0], c->name) != 0)
                        continue;
                if (!c->verb || (words[1] && strcmp(words[1], c->verb) == 0))
                        return c;
        }
        return NULL;
}

int command_run(Host *host, const char *const *words, GString *out) {
        const Command *command = find(words);
        const char *const *args;
        uint64_t now;
        unsigned n;
        int status;

        if (!command)
                return usage(out, "unknown command '%s'", words[0] ?: "");

        args = words + (command->verb ? 2 : 1);
        n = g_strv_length((char **) args);
        if (n < command->min || n > command->max)
                return usage(out, "usage: %s", command->usage);

        pthread_mutex_lock(&host->lock);
        now = host_now();
        model_advance(host->model, now);
        status = command->run(host, now, args, out);
        pthread_mutex_unlock(&host->lock);
        return status;
}
