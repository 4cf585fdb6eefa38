/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include "base/hex.h"
#include "bus/describe.h"
#include "bus/dict.h"

static int describe_blocker(sd_bus_message *message, const Blocker *blocker) {
        Dict d = dict_open(message);

        dict_string(&d, "id", blocker_id_to_string(blocker->id));
        dict_string(&d, "severity", severity_to_string(blocker->severity));
        dict_string(&d, "text", blocker->text);
        dict_string(&d, "subject", blocker->subject);
        dict_u64(&d, "until", blocker->until);
        return dict_close(&d);
}

int describe_blockers(sd_bus_message *message, const BlockerList *blockers) {
        int r;

        r = sd_bus_message_open_container(message, 'a', "a{sv}");
        for (size_t i = 0; r >= 0 && i < blockers->n; i++)
                r = describe_blocker(message, &blockers->items[i]);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static void add_blockers(Dict *d, const BlockerList *blockers) {
        dict_enter(d, "blockers", "aa{sv}");
        if (d->error >= 0)
                dict_check(d, describe_blockers(d->message, blockers));
        dict_leave(d);
}

int describe_plan(sd_bus_message *message, const Plan *plan) {
        Dict d = dict_open(message);

        dict_string(&d, "from", plan->from);
        dict_string(&d, "to", plan->to);
        dict_string(&d, "token", plan->token);
        dict_bool(&d, "allowed", plan->allowed);
        dict_strv(&d, "steps", plan->steps);
        dict_u32(&d, "cost", plan->cost);
        if (plan->have_remaining)
                dict_u32(&d, "remaining-after", plan->remaining_after);
        if (plan->have_svn_before)
                dict_u32(&d, "svn-before", plan->svn_before);
        if (plan->have_svn_after)
                dict_u32(&d, "svn-after", plan->svn_after);
        add_blockers(&d, &plan->blockers);
        return dict_close(&d);
}

static void add_hex(Dict *d, const char *key, const uint8_t *bytes, size_t n) {
        g_autofree char *text = hex_format(bytes, n);

        dict_string(d, key, text);
}

/* BCD yyyymmdd as yyyy-mm-dd. */
static void add_date(Dict *d, uint32_t date) {
        g_autofree char *text = g_strdup_printf("%04x-%02x-%02x", date >> 16, date >> 8 & 0xff, date & 0xff);

        dict_string(d, "date", text);
}

static void add_mapping(Dict *d, const Mapping *mapping) {
        g_autofree char **min_seamldr = g_new0(char *, mapping->n_min_seamldr + 1);

        dict_string(d, "min-module", VERSION_STRING(mapping->min_module));
        for (size_t i = 0; i < mapping->n_min_seamldr; i++)
                min_seamldr[i] = g_strdup(VERSION_STRING(mapping->min_seamldr[i]));
        dict_strv(d, "min-seamldr", min_seamldr);
        for (size_t i = 0; i < mapping->n_min_seamldr; i++)
                g_free(min_seamldr[i]);
        dict_u64(d, "features0", mapping->features0);
}

int describe_image(sd_bus_message *message, Manager *manager, const Image *image) {
        static const char *const formats[] = { "unknown", "0x100", "0x200" };
        g_auto(BlockerList) blockers = {};
        Dict d = dict_open(message);
        ImageFacts facts;

        manager_image_blockers(manager, image, &facts, &blockers);

        dict_string(&d, "version", image_have_version(image) ? VERSION_STRING(facts.version) : "");
        dict_string(&d, "path", image_path(image));
        dict_string(&d, "format", formats[image_format(image)]);
        dict_bool(&d, "eligible", !blocker_list_refusal(&blockers) && !image_shadowed(image));
        add_blockers(&d, &blockers);
        add_date(&d, image_date(image));
        dict_u32(&d, "svn", facts.svn);
        add_hex(&d, "seam-hash", image_seam_hash(image), SEAM_HASH_SIZE);
        add_hex(&d, "signer", image_signer(image), SIGNER_SIZE);
        dict_bool(&d, "debug", facts.debug);
        dict_enter(&d, "cpus", "au");
        if (d.error >= 0)
                dict_check(&d, sd_bus_message_append_array(message, 'u', facts.cpus, facts.n_cpus * sizeof(uint32_t)));
        dict_leave(&d);
        if (facts.mapping)
                add_mapping(&d, facts.mapping);
        dict_bool(&d, "shadowed", image_shadowed(image));
        return dict_close(&d);
}

int describe_timings(sd_bus_message *message, const AttemptRecord *a) {
        const struct {
                const char *name;
                uint64_t usec;
        } timings[] = {
                { "look-to-handover", a ? a->look_to_handover : 0 },
                { "kernel", a ? a->kernel : 0 },
                { "verify", a ? a->verify : 0 },
                { "total", a ? a->total : 0 },
        };
        int r;

        r = sd_bus_message_open_container(message, 'a', "{st}");
        for (size_t i = 0; r >= 0 && i < G_N_ELEMENTS(timings); i++)
                if (timings[i].usec > 0)
                        r = sd_bus_message_append(message, "{st}", timings[i].name, timings[i].usec);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int describe_attempt(sd_bus_message *message, const AttemptRecord *a) {
        Dict d = dict_open(message);

        dict_u32(&d, "number", a->number);
        dict_u64(&d, "started", a->started);
        dict_string(&d, "outcome", outcome_to_string(a->outcome));
        dict_string(&d, "status", a->status);
        dict_string(&d, "kernel-error", a->kernel_error);
        dict_enter(&d, "timings", "a{st}");
        if (d.error >= 0)
                dict_check(&d, describe_timings(message, a));
        dict_leave(&d);
        return dict_close(&d);
}

int describe_attempts(sd_bus_message *message, const JobRecord *record) {
        int r;

        r = sd_bus_message_open_container(message, 'a', "a{sv}");
        for (unsigned i = 0; r >= 0 && i < record->attempts->len; i++)
                r = describe_attempt(message, record->attempts->pdata[i]);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

static int describe_suspect(sd_bus_message *message, const SuspectRecord *s) {
        Dict d = dict_open(message);

        dict_u32(&d, "pid", s->pid);
        if (s->start_time != 0)
                dict_u64(&d, "start-time", s->start_time);
        dict_string(&d, "name", s->name);
        dict_string(&d, "machine", s->machine);
        dict_string(&d, "unit", s->unit);
        if (s->since != 0)
                dict_u64(&d, "since", s->since);
        dict_string(&d, "evidence", s->evidence);
        return dict_close(&d);
}

static int describe_suspects(sd_bus_message *message, const JobRecord *j) {
        int r;

        r = sd_bus_message_open_container(message, 'a', "a{sv}");
        for (unsigned i = 0; r >= 0 && i < j->suspects->len; i++)
                r = describe_suspect(message, j->suspects->pdata[i]);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

int describe_guest(sd_bus_message *message, const GuestFacts *guest, const GuestVerdict *verdict) {
        Dict d = dict_open(message);

        dict_u32(&d, "pid", guest->pid);
        if (guest->start_time != 0)
                dict_u64(&d, "start-time", guest->start_time);
        dict_string(&d, "name", guest->name);
        dict_string(&d, "machine", guest->machine);
        dict_string(&d, "unit", guest->unit);
        dict_string(&d, "is-td", guest_td_to_string(verdict->td));
        dict_string(&d, "phase", guest_phase_to_string(verdict->phase));
        if (guest->since != 0)
                dict_u64(&d, "since", guest->since);
        dict_string(&d, "tier", tier_to_string(verdict->tier));
        dict_string(&d, "evidence", verdict->evidence);
        return dict_close(&d);
}

int describe_history(sd_bus_message *message, const JobRecord *j) {
        Dict d = dict_open(message);

        dict_u32(&d, "job", j->id);
        dict_string(&d, "from", j->from);
        dict_string(&d, "to", j->to);
        dict_string(&d, "result", job_result_to_string(j->result));
        dict_enter(&d, "error", "(ss)");
        if (d.error >= 0)
                dict_check(&d, sd_bus_message_append(message, "(ss)", j->error_name, j->error_text));
        dict_leave(&d);
        dict_u32(&d, "requester", (uint32_t) j->requester);
        dict_string(&d, "reason", j->why);
        dict_u64(&d, "started", j->created);
        dict_u64(&d, "finished", j->finished);
        dict_enter(&d, "attempts", "aa{sv}");
        if (d.error >= 0)
                dict_check(&d, describe_attempts(message, j));
        dict_leave(&d);
        dict_string(&d, "seam-hash", j->seam_hash);
        dict_string(&d, "signer", j->signer);
        if (j->have_svn_before)
                dict_u32(&d, "svn-before", j->svn_before);
        if (j->result == RESULT_SUCCESS && !j->external)
                dict_u32(&d, "svn-after", j->svn_after);
        dict_string(&d, "evidence", j->evidence);
        dict_enter(&d, "suspect-guests", "aa{sv}");
        if (d.error >= 0)
                dict_check(&d, describe_suspects(message, j));
        dict_leave(&d);
        dict_bool(&d, "external", j->external);
        return dict_close(&d);
}
