/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>

#include "base/errors.h"
#include "base/names.h"
#include "client/bus.h"
#include "client/dict.h"
#include "client/failure.h"
#include "client/output.h"
#include "client/verbs.h"

static Colour state_colour(const char *state) {
        if (g_str_equal(state, "lost") || g_str_equal(state, "unsupported"))
                return COLOUR_RED;
        if (g_str_equal(state, "idle"))
                return COLOUR_GREEN;

        return COLOUR_YELLOW;
}

static const char *busy_detection_text(const char *value) {
        if (g_str_equal(value, "yes"))
                return "yes, kernel and module refuse an update during a TD build";
        if (g_str_equal(value, "no"))
                return "no, only the daemon itself keeps updates away from TD builds";

        return "unknown, so only what the daemon itself sees counts";
}

static const char *evidence_text(const char *tier) {
        static const struct {
                const char *tier, *text;
        } texts[] = {
                { "T0", "proven (T0)" },
                { "T1", "counted exactly (T1)" },
                { "T2", "inferred from KVM's reports (T2)" },
                { "T3", "guessed from a quiet time (T3)" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
                if (g_str_equal(tier, texts[i].tier))
                        return texts[i].text;

        return *tier && !g_str_equal(tier, "none") ? tier : "no evidence";
}

static void add_idle(GString *out, JsonObject *p) {
        const char *evidence = evidence_text(dict_string(p, "Evidence"));

        if (dict_flag(p, "Idle"))
                field_addf(out, "TD builds", "none, %s", evidence);
        else if (dict_number(p, "Building") > 0)
                field_addf(out, "TD builds", "%" PRIu64 ", %s", dict_number(p, "Building"), evidence);
        else
                field_addf(out, "TD builds", "not known, which counts as busy: %s", evidence);
        if (dict_number(p, "Guests") > 0)
                field_addf(out, "VMs", "%" PRIu64, dict_number(p, "Guests"));
        if (dict_number(p, "Holds") > 0)
                field_addf(out, "Holds", "%" PRIu64, dict_number(p, "Holds"));
}

/* A job that cannot be read has just gone; the status is right without it. */
static void add_jobs(Tdxctl *t, GString *out, JsonObject *p) {
        JsonArray *jobs = dict_array(p, "Jobs");
        g_autoptr(JsonObject) job = NULL;
        unsigned n = array_length(jobs);

        if (n == 0) {
                field_add(out, "Jobs", "none");
                return;
        }
        if (bus_properties(t, array_string(jobs, 0), BUS_JOB_INTERFACE, NULL, &job) < 0) {
                field_addf(out, "Jobs", "%u", n);
                return;
        }

        field_addf(out, "Job", "%" PRIu64 ", to %s, %s: %s", dict_number(job, "Id"), dict_string(job, "ToVersion"),
                   dict_string(job, "State"), dict_string(job, "Reason"));
        if (n > 1)
                field_addf(out, "Queue", "%u more behind it", n - 1);
}

static void add_head(const Tdxctl *t, GString *out, JsonObject *p) {
        g_autofree char *state = NULL;

        field_add(out, "TDX module", dict_flag(p, "Lost") ? "lost until the next reboot" :
                  *dict_string(p, "ModuleVersion") ? dict_string(p, "ModuleVersion") : "none");
        state = g_strdup_printf("%s%s%s", colour(t, state_colour(dict_string(p, "State"))),
                                dict_string(p, "State"), colour(t, COLOUR_NONE));
        /* Only our own sequences may pass, so the value is one of a few words or goes without. */
        if (t->colour && g_regex_match_simple("^[a-z-]+$", dict_string(p, "State"), 0, 0))
                g_string_append_printf(out, "%15s: %s\n", "State", state);
        else
                field_add(out, "State", dict_string(p, "State"));
        field_add(out, "Reason", dict_string(p, "StateReason"));
        if (!dict_flag(p, "UpdateSupported"))
                field_addf(out, "Unsupported", "%s", dict_string(p, "UnsupportedReason"));
}

static char *status_text(Tdxctl *t, JsonObject *p) {
        g_autoptr(GString) out = g_string_new(NULL);
        g_autofree char *blocked = array_join(dict_array(p, "BlockedBy"), ", ");
        const char *desired = dict_string(p, "DesiredVersion");

        add_head(t, out, p);
        field_add(out, "P-SEAMLDR", *dict_string(p, "SeamldrVersion") ? dict_string(p, "SeamldrVersion") : "not known");
        /* Both are read together; 0 alone may mean either. */
        if (dict_number(p, "RemainingUpdates") > 0 || *dict_string(p, "SeamldrVersion"))
                field_addf(out, "Updates left", "%" PRIu64 " until the next reboot", dict_number(p, "RemainingUpdates"));
        else
                field_add(out, "Updates left", "not known");
        if (dict_number(p, "CpuSignature") != 0)
                field_addf(out, "CPU signature", "0x%" PRIx64, dict_number(p, "CpuSignature"));
        else
                field_add(out, "CPU signature", "not known");
        field_add(out, "Busy detection", busy_detection_text(dict_string(p, "BusyDetection")));
        add_idle(out, p);
        add_jobs(t, out, p);
        field_add(out, "Blocked by", *blocked ? blocked : "nothing");
        field_add(out, "Desired", *desired ? desired : "nothing, after a boot the BIOS's module runs");
        field_add(out, "Daemon", dict_string(p, "DaemonVersion"));

        return g_string_free(g_steal_pointer(&out), false);
}

int verb_status(Tdxctl *t, int argc, char *argv[]) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) properties = NULL;
        g_autofree char *text = NULL;
        int r;

        r = bus_properties(t, BUS_PATH, BUS_INTERFACE, &error, &properties);
        if (r < 0)
                return failure_bus(t, r, &error);

        if (t->options.json != JSON_OFF) {
                g_autoptr(JsonObject) object = dict_kebab(properties);

                output_json_object(t, object);
                return EXIT_DONE;
        }

        text = status_text(t, properties);
        output_text(t, text);
        return EXIT_DONE;
}
