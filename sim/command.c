/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "sim/cgroup.h"
#include "sim/control.h"

/* The commands of "tdx-sim ctl", as the simulator carries them out, with the lock held. */

typedef struct Request {
        Host *host;
        uint64_t now;
        const char *const *args;        /* what follows the command's name */
        GBytes *file;                   /* of the command that has reads_file, else NULL */
        GString *out;
} Request;

typedef struct Command {
        const char *name;
        const char *verb;       /* the second word, or NULL */
        unsigned min, max;      /* words after these */
        int (*run)(const Request *q);
        const char *usage;
        bool reads_file;        /* the first argument, before the lock is taken: it may be in the mount */
} Command;

/* Gives *@text away. Bad input is 64, an honest "no" of the model is 1. */
static int answer(int r, char **text, GString *out) {
        g_autofree char *t = g_steal_pointer(text);

        if (r >= 0)
                return 0;
        g_string_append_printf(out, "%s\n", t ?: strerror(-r));
        return EXIT_FAILURE;
}

static int usage(GString *out, const char *format, const char *argument) G_GNUC_PRINTF(2, 0);
static int usage(GString *out, const char *format, const char *argument) {
        g_string_append_printf(out, format, argument);
        g_string_append_c(out, '\n');
        return EXIT_USAGE;
}

static int run_get(const Request *q) {
        if (!q->args[0]) {
                model_get_all(q->host->model, q->out);
                return 0;
        }
        if (model_get(q->host->model, q->args[0], q->out) < 0)
                return usage(q->out, "unknown key '%s'", q->args[0]);
        g_string_append_c(q->out, '\n');
        return 0;
}

static int run_set(const Request *q) {
        g_autofree char *text = NULL;
        int r;

        r = model_set(q->host->model, q->now, q->args, &text);
        if (r == -EINVAL || r == -ENOENT)
                return usage(q->out, "%s", text);
        return answer(r, &text, q->out);
}

/* As any other process would do it, through the same calls that the files make. */
static int run_upload(const Request *q) {
        g_autofree char *text = NULL;
        Model *m = q->host->model;
        const uint8_t *data;
        size_t size;
        int r;

        if (!model_has_upload(m))
                return answer(-ENODEV, &text, q->out);

        data = g_bytes_get_data(q->file, &size);
        r = model_loading_store(m, q->now, "1", 1);
        for (size_t done = 0; r >= 0 && done < size;) {
                ssize_t n = model_data_write(m, q->now, data + done, size - done, done);

                if (n < 0)
                        r = (int) n;
                else
                        done += (size_t) n;
        }
        if (r >= 0)
                r = model_loading_store(m, q->now, "0", 1);
        return answer(r, &text, q->out);
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

static int run_td_begin(const Request *q) {
        TdBegin td = { .name = q->args[0], .cgroup = q->args[2] };
        g_autofree char *text = NULL;
        int r;

        /* "/" is the root. */
        if (td.cgroup && strcmp(td.cgroup, "/") == 0)
                td.cgroup = "";

        r = check_name(q->args[0], q->out);
        if (r == 0)
                r = parse_id(q->args[1], "PID", &td.pid, q->out);
        if (r != 0)
                return r;
        return answer(model_td_begin_in(q->host->model, q->now, &td, &text), &text, q->out);
}

static int run_td_add(const Request *q) {
        g_autofree char *text = NULL;

        return answer(model_td_add(q->host->model, q->now, q->args[0], q->args[1], &text), &text, q->out);
}

static int run_td_finalize(const Request *q) {
        g_autofree char *text = NULL;

        return answer(model_td_finalize(q->host->model, q->now, q->args[0], &text), &text, q->out);
}

static int run_td_destroy(const Request *q) {
        g_autofree char *text = NULL;

        return answer(model_td_destroy(q->host->model, q->now, q->args[0], &text), &text, q->out);
}

static int parse_vm(const char *const *args, unsigned *ret_pid, unsigned *ret_fd, GString *out) {
        int r;

        r = parse_id(args[0], "PID", ret_pid, out);
        return r != 0 ? r : parse_id(args[1], "file descriptor", ret_fd, out);
}

static int run_vm_create(const Request *q) {
        g_autofree char *text = NULL;
        Vm vm = { .n_vcpus = 1 };
        int r;

        r = parse_vm(q->args, &vm.pid, &vm.fd, q->out);
        if (r == 0 && q->args[2])
                r = parse_id(q->args[2], "number of vCPUs", &vm.n_vcpus, q->out);
        if (r != 0)
                return r;
        if (vm.n_vcpus > 1024)
                return usage(q->out, "'%s' are too many vCPUs", q->args[2]);
        if (q->args[2] && q->args[3] && strcmp(q->args[3], "-") != 0) {
                r = check_name(q->args[3], q->out);
                if (r != 0)
                        return r;
                if (g_strlcpy(vm.name, q->args[3], sizeof(vm.name)) >= sizeof(vm.name) || strchr(vm.name, '/'))
                        return usage(q->out, "'%s' is no name of a VM", q->args[3]);
        }
        if (q->args[2] && q->args[3] && q->args[4]) {
                r = parse_id(q->args[4], "TID", &vm.tid, q->out);
                if (r != 0)
                        return r;
        }
        return answer(model_vm_create(q->host->model, q->now, &vm, &text), &text, q->out);
}

static int run_vm_run(const Request *q) {
        g_autofree char *text = NULL;
        unsigned pid, fd;
        int r;

        r = parse_vm(q->args, &pid, &fd, q->out);
        return r != 0 ? r : answer(model_vm_run(q->host->model, q->now, pid, fd, &text), &text, q->out);
}

static int run_vm_destroy(const Request *q) {
        g_autofree char *text = NULL;
        unsigned pid, fd;
        int r;

        r = parse_vm(q->args, &pid, &fd, q->out);
        return r != 0 ? r : answer(model_vm_destroy(q->host->model, q->now, pid, fd, &text), &text, q->out);
}

#define BURST_MAX 50000U

static int run_vm_burst(const Request *q) {
        g_autofree char *text = NULL;
        unsigned n;
        int r;

        r = parse_id(q->args[0], "number of VMs", &n, q->out);
        if (r != 0)
                return r;
        if (n > BURST_MAX)
                return usage(q->out, "'%s' are too many VMs", q->args[0]);
        return answer(model_vm_burst(q->host->model, q->now, n, &text), &text, q->out);
}

static int run_cgroup_add(const Request *q) {
        g_autofree char *text = NULL;
        int r;

        r = model_cgroup_add(q->host->model, q->now, q->args[0], &text);
        return r == -EINVAL ? usage(q->out, "%s", text) : answer(r, &text, q->out);
}

static int run_cgroup_remove(const Request *q) {
        g_autofree char *text = NULL;

        return answer(model_cgroup_remove(q->host->model, q->now, q->args[0], &text), &text, q->out);
}

static int run_reboot(const Request *q) {
        g_autofree char *boot_id = g_uuid_string_random(), *text = NULL;

        return answer(model_reboot(q->host->model, q->now, boot_id, &text), &text, q->out);
}

static int run_tds(const Request *q) {
        model_td_list(q->host->model, q->out);
        return 0;
}

static int run_log(const Request *q) {
        g_string_append(q->out, model_log(q->host->model));
        return 0;
}

static const Command commands[] = {
        { "get", NULL, 0, 1, run_get, "get [KEY]" },
        { "set", NULL, 1, 1000, run_set, "set KEY=VALUE..." },
        { "upload", NULL, 1, 1, run_upload, "upload FILE", true },
        { "td", "begin", 2, 3, run_td_begin, "td begin NAME PID [CGROUP]" },
        { "td", "add", 2, 2, run_td_add, "td add NAME DATA" },
        { "td", "finalize", 1, 1, run_td_finalize, "td finalize NAME" },
        { "td", "destroy", 1, 1, run_td_destroy, "td destroy NAME" },
        { "vm", "create", 2, 5, run_vm_create, "vm create PID FD [VCPUS [NAME [TID]]]" },
        { "vm", "run", 2, 2, run_vm_run, "vm run PID FD" },
        { "vm", "destroy", 2, 2, run_vm_destroy, "vm destroy PID FD" },
        { "vm", "burst", 1, 1, run_vm_burst, "vm burst N" },
        { "cgroup", "add", 1, 1, run_cgroup_add, "cgroup add PATH" },
        { "cgroup", "remove", 1, 1, run_cgroup_remove, "cgroup remove PATH" },
        { "reboot", NULL, 0, 0, run_reboot, "reboot" },
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

static GBytes *read_image(const char *path, GString *out) {
        char *data;
        size_t size;
        int r;

        r = read_file_at(AT_FDCWD, path, 2 * LIMIT_IMAGE_SIZE, &data, &size);
        if (r < 0) {
                g_string_append_printf(out, "%s: %s\n", path, strerror(-r));
                return NULL;
        }
        return g_bytes_new_take(data, size);
}

int command_run(Host *host, const char *const *words, GString *out) {
        const Command *command = find(words);
        g_autoptr(GBytes) file = NULL;
        Request q = { .host = host, .out = out };
        unsigned n;
        int status;

        if (!command)
                return usage(out, "unknown command '%s'", words[0] ?: "");

        q.args = words + (command->verb ? 2 : 1);
        n = g_strv_length((char **) q.args);
        if (n < command->min || n > command->max)
                return usage(out, "usage: %s", command->usage);

        if (command->reads_file) {
                q.file = file = read_image(q.args[0], out);
                if (!file)
                        return EXIT_FAILURE;
        }

        pthread_mutex_lock(&host->lock);
        q.now = host_now();
        model_advance(host->model, q.now);
        status = command->run(&q);
        pthread_mutex_unlock(&host->lock);
        return status;
}
