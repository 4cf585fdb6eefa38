/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <stdio.h>

#include "base/errors.h"
#include "base/names.h"
#include "base/util.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/escape.h"
#include "client/failure.h"
#include "client/file.h"
#include "client/output.h"
#include "client/verbs.h"

static int append_import(sd_bus_message *m, const char *version, int image, int mapping) {
        int r;

        r = sd_bus_message_append(m, "h", image);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        if (version)
                r = sd_bus_message_append(m, "{sv}", "version", "s", version);
        if (r >= 0 && mapping >= 0)
                r = sd_bus_message_append(m, "{sv}", "mapping", "h", mapping);
        if (r < 0)
                return r;

        return sd_bus_message_close_container(m);
}

int verb_import(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        /* As in the catalogue, the name of the file speaks for an image that does not know its version. */
        g_autofree char *name_version = file_version(argv[1]);
        _cleanup_close_ int image = -1, mapping = -1;
        const char *version;
        int r;

        r = file_open(t, argv[1], &image);
        if (r != EXIT_DONE)
                return r;
        if (t->options.mapping) {
                r = file_open(t, t->options.mapping, &mapping);
                if (r != EXIT_DONE)
                        return r;
        }

        r = bus_message(t, BUS_PATH, BUS_INTERFACE, "ImportImage", &m);
        if (r >= 0)
                r = append_import(m, t->options.version ?: name_version, image, mapping);
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

static bool has_blocker(JsonObject *image, const char *id) {
        JsonArray *blockers = dict_array(image, "blockers");

        for (unsigned i = 0; i < array_length(blockers); i++)
                if (g_str_equal(dict_string(array_object(blockers, i), "id"), id))
                        return true;

        return false;
}

static void add_facts(GString *out, JsonObject *image) {
        g_autofree char *cpus = hex_list(dict_array(image, "cpus"));
        g_autofree char *seamldr = array_join(dict_array(image, "min-seamldr"), ", ");

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
        if (dict_number(image, "features0") > 0)
                field_addf(out, "TDX_FEATURES0", "0x%" PRIx64, dict_number(image, "features0"));
}

static char *image_text(JsonObject *image) {
        g_autoptr(GString) out = g_string_new(NULL);
        bool valid = !has_blocker(image, "image-invalid");

        field_add(out, "Valid", valid ? "yes" : "no");
        /* Nothing that a broken image says can be relied on. */
        if (valid)
                add_facts(out, image);
        field_add(out, "Eligible", dict_flag(image, "eligible") ? "yes" : "no");
        add_blockers(out, dict_array(image, "blockers"));

        return g_string_free(g_steal_pointer(&out), false);
}

/* Whether it fits this host is shown; the exit status tells only about the image itself. */
static int image_exit_status(JsonObject *image) {
        return has_blocker(image, "image-invalid") || has_blocker(image, "image-untrusted") ? EXIT_IMAGE_INVALID : EXIT_DONE;
}

int verb_inspect(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_close_ int image = -1;
        g_autoptr(JsonNode) facts = NULL;
        int r;

        r = file_open(t, argv[1], &image);
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
