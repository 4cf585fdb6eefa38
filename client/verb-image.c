/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errors.h"
#include "base/limit.h"
#include "base/names.h"
#include "base/util.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/verbs.h"

/*
 * A copy of a file in memory: the daemon takes nothing else from users other than root, since a read from their own
 * file systems could stop it. What is too large for an image only keeps its size: the daemon will refuse it for that.
 */
static int copy_to_memfd(int fd, uint64_t size, int *ret_fd) {
        _cleanup_close_ int memfd = -1;
        uint64_t done = 0;
        char buffer[65536];

        memfd = memfd_create("tdxctl-file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (memfd < 0)
                return -errno;

        while (done < MIN(size, LIMIT_IMAGE_SIZE)) {
                ssize_t n = read(fd, buffer, MIN(sizeof(buffer), MIN(size, LIMIT_IMAGE_SIZE) - done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                if (write(memfd, buffer, (size_t) n) != n)
                        return -EIO;
                done += (uint64_t) n;
        }
        if (size > LIMIT_IMAGE_SIZE && ftruncate(memfd, (off_t) size) < 0)
                return -errno;

        *ret_fd = steal_fd(&memfd);
        return 0;
}

/* Non-blocking, so that a FIFO does not hang us. */
static int read_file(const char *path, int *ret_fd) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENXIO ? -ENOTSUP : -errno; /* a socket */
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ENOTSUP;

        return copy_to_memfd(fd, (uint64_t) st.st_size, ret_fd);
}

/* Returns an exit status. */
static int open_file(const Tdxctl *t, const char *path, int *ret_fd) {
        g_autofree char *text = NULL;
        int r;

        if (t->options.transport == TRANSPORT_REMOTE)
                return failure(t, ERROR_INVALID_ARGS, "A file cannot be handed over ssh; copy it to %s and run tdxctl there",
                               t->options.host);

        r = read_file(path, ret_fd);
        if (r >= 0)
                return EXIT_DONE;
        if (r == -ENOTSUP)
                return failure(t, ERROR_IMAGE_INVALID, "%s is no regular file; give the file itself", path);

        text = g_strdup_printf("%s cannot be read: %s", path, g_strerror(-r));
        if (r == -ENOENT)
                return failure_named(t, "FileNotFound", EXIT_NO_SUCH, text);
        if (r == -EACCES || r == -EPERM)
                return failure_named(t, "AccessDenied", EXIT_NOT_AUTHORISED, text);
        return failure_named(t, "IOError", EXIT_OTHER, text);
}

static int append_import(sd_bus_message *m, const Options *options, int image, int mapping) {
        int r;

        r = sd_bus_message_append(m, "h", image);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        if (options->version)
                r = sd_bus_message_append(m, "{sv}", "version", "s", options->version);
        if (r >= 0 && mapping >= 0)
                r = sd_bus_message_append(m, "{sv}", "mapping", "h", mapping);
        if (r < 0)
                return r;

        return sd_bus_message_close_container(m);
}

int verb_import(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_close_ int image = -1, mapping = -1;
        const char *version;
        int r;

        r = open_file(t, argv[1], &image);
        if (r != EXIT_DONE)
                return r;
        if (t->options.mapping) {
                r = open_file(t, t->options.mapping, &mapping);
                if (r != EXIT_DONE)
                        return r;
        }

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "ImportImage", &m);
        if (r >= 0)
                r = append_import(m, &t->options, image, mapping);
        if (r < 0)
                return failure_errno(t, r);
        r = bus_call(t, m, CALL_AUTH | CALL_SLOW, &error, &reply);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &version);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF) {
                g_autoptr(JsonObject) object = json_object_new();

                json_object_set_string_member(object, "version", version);
                output_json_object(t, object);
        } else {
                g_autofree char *safe = escape_terminal(version);

                printf("%s is in the catalogue now.\n", safe);
        }
        return EXIT_DONE;
}

static char *hex_list(JsonArray *array) {
        g_autoptr(GString) text = g_string_new(NULL);

        for (unsigned i = 0; i < array_length(array); i++)
                g_string_append_printf(text, "%s0x%" PRIx64, i > 0 ? ", " : "",
                                       (uint64_t) json_array_get_int_element(array, i));

        return g_string_free(g_steal_pointer(&text), false);
}

static void add_blockers(GString *out, JsonArray *blockers) {
        for (unsigned i = 0; i < array_length(blockers); i++) {
                JsonObject *blocker = array_object(blockers, i);

                field_addf(out, i == 0 ? "Blockers" : "", "%s, %s: %s", dict_string(blocker, "severity"),
                           dict_string(blocker, "id"), dict_string(blocker, "text"));
        }
}

static char *image_text(JsonObject *image) {
        g_autofree char *cpus = hex_list(dict_array(image, "cpus"));
        g_autofree char *seamldr = array_join(dict_array(image, "min-seamldr"), ", ");
        g_autoptr(GString) out = g_string_new(NULL);

        field_add(out, "Version", *dict_string(image, "version") ? dict_string(image, "version") : "not known");
        field_add(out, "Format", dict_string(image, "format"));
        field_add(out, "Date", dict_string(image, "date"));
        if (dict_has(image, "svn"))
                field_addf(out, "SVN", "0x%" PRIx64, dict_number(image, "svn"));
        field_add(out, "SEAM hash", dict_string(image, "seam-hash"));
        field_add(out, "Signer", dict_string(image, "signer"));
        if (dict_has(image, "debug"))
                field_add(out, "Debug", dict_flag(image, "debug") ? "yes" : "no");
        field_add(out, "CPUs", cpus);
        field_add(out, "From module", dict_string(image, "min-module"));
        field_add(out, "From P-SEAMLDR", seamldr);
        if (dict_has(image, "features0"))
                field_addf(out, "TDX_FEATURES0", "0x%" PRIx64, dict_number(image, "features0"));
        field_add(out, "Eligible", dict_flag(image, "eligible") ? "yes" : "no");
        add_blockers(out, dict_array(image, "blockers"));

        return g_string_free(g_steal_pointer(&out), false);
}

/* Whether it fits this host is shown; the exit status tells only about the image itself. */
static int image_exit_status(JsonObject *image) {
        JsonArray *blockers = dict_array(image, "blockers");

        for (unsigned i = 0; i < array_length(blockers); i++) {
                const char *id = dict_string(array_object(blockers, i), "id");

                if (g_str_equal(id, "image-invalid") || g_str_equal(id, "image-untrusted"))
                        return EXIT_IMAGE_INVALID;
        }

        return EXIT_DONE;
}

int verb_inspect(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_close_ int image = -1;
        g_autoptr(JsonNode) facts = NULL;
        int r;

        r = open_file(t, argv[1], &image);
        if (r != EXIT_DONE)
                return r;

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "InspectImage", &m);
        if (r >= 0)
                r = sd_bus_message_append(m, "h", image);
        if (r < 0)
                return failure_errno(t, r);
        r = bus_call_json(t, m, CALL_SLOW, &error, &facts);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF) {
                output_json(t, facts);
        } else {
                g_autofree char *text = image_text(json_node_get_object(facts));

                output_text(t, text);
        }
        return image_exit_status(json_node_get_object(facts));
}
