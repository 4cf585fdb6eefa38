/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/fileio.h"
#include "hold-internal.h"

/*
 * A hold as the next daemon reads it, which may be another version: the first line says which form it has, then come
 * all of its keys in this order, one a line. What people wrote is escaped as in URIs, so that it has no line breaks.
 */
#define HEADER "tdx-updated hold 1"

enum { KEY_ID, KEY_WHAT, KEY_MODE, KEY_WHO, KEY_WHY, KEY_UNIT, KEY_UID, KEY_PID, KEY_SINCE, KEY_UNTIL, KEY_TAKEN, KEY_ENDS,
       KEY_ANNOUNCED, KEY_MATCH_PID, KEY_MATCH_MACHINE, KEY_MATCH_UNIT, _KEY_MAX };

static const char *const keys[_KEY_MAX] = {
        [KEY_ID] = "id",
        [KEY_WHAT] = "what",
        [KEY_MODE] = "mode",
        [KEY_WHO] = "who",
        [KEY_WHY] = "why",
        [KEY_UNIT] = "unit",
        [KEY_UID] = "uid",
        [KEY_PID] = "pid",
        [KEY_SINCE] = "since",
        [KEY_UNTIL] = "until",
        [KEY_TAKEN] = "taken",
        [KEY_ENDS] = "ends",
        [KEY_ANNOUNCED] = "announced",
        [KEY_MATCH_PID] = "match-pid",
        [KEY_MATCH_MACHINE] = "match-machine",
        [KEY_MATCH_UNIT] = "match-unit",
};

static void put_text(GString *s, int key, const char *value) {
        g_autofree char *escaped = g_uri_escape_string(value, NULL, false);

        g_string_append_printf(s, "%s=%s\n", keys[key], escaped);
}

static void put_number(GString *s, int key, uint64_t value) {
        g_string_append_printf(s, "%s=%" PRIu64 "\n", keys[key], value);
}

char *hold_to_text(const Hold *hold) {
        const HoldFacts *f = &hold->facts;
        GString *s = g_string_new(HEADER "\n");

        put_number(s, KEY_ID, f->id);
        put_text(s, KEY_WHAT, hold_what_to_string(f->what));
        put_text(s, KEY_MODE, hold_mode_to_string(f->mode));
        put_text(s, KEY_WHO, f->who);
        put_text(s, KEY_WHY, f->why);
        put_text(s, KEY_UNIT, f->unit);
        put_number(s, KEY_UID, f->uid);
        put_number(s, KEY_PID, f->pid);
        put_number(s, KEY_SINCE, f->since);
        put_number(s, KEY_UNTIL, f->until);
        put_number(s, KEY_TAKEN, hold->taken);
        put_number(s, KEY_ENDS, hold->ends);
        put_number(s, KEY_ANNOUNCED, hold->announced);
        put_number(s, KEY_MATCH_PID, hold->match_pid);
        put_text(s, KEY_MATCH_MACHINE, hold->match_machine);
        put_text(s, KEY_MATCH_UNIT, hold->match_unit);
        return g_string_free(s, false);
}

/* The lines in order, each with the value behind its key. */
typedef struct Reader {
        char **lines;
        int error;                      /* the first one sticks */
} Reader;

static const char *get_value(Reader *reader, int key) {
        const char *line = reader->lines[1 + key];
        size_t n = strlen(keys[key]);

        if (strncmp(line, keys[key], n) != 0 || line[n] != '=') {
                reader->error = -EBADMSG;
                return "";
        }
        return line + n + 1;
}

static void get_text(Reader *reader, int key, char **ret) {
        char *text = g_uri_unescape_string(get_value(reader, key), NULL);

        if (!text || !g_utf8_validate(text, -1, NULL)) {
                reader->error = -EBADMSG;
                g_clear_pointer(&text, g_free);
        }
        *ret = text ?: g_strdup("");
}

static uint64_t get_number(Reader *reader, int key, uint64_t max) {
        uint64_t value = 0;

        if (parse_u64(get_value(reader, key), &value) < 0 || value > max) {
                reader->error = -EBADMSG;
                return 0;
        }
        return value;
}

static void get_kind(Reader *reader, HoldFacts *f) {
        int what = hold_what_from_string(get_value(reader, KEY_WHAT)), mode = hold_mode_from_string(get_value(reader, KEY_MODE));

        if (what < 0 || mode < 0) {
                reader->error = -EBADMSG;
                return;
        }
        f->what = (HoldWhat) what;
        f->mode = (HoldMode) mode;
}

int hold_from_text(const char *text, Hold **ret) {
        g_autoptr(Hold) hold = hold_new();
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        Reader reader = { .lines = lines };
        HoldFacts *f = &hold->facts;

        /* The header, the keys, and the empty string behind the last line's end. */
        if (g_strv_length(lines) != 1 + _KEY_MAX + 1 || strcmp(lines[0], HEADER) != 0 || *lines[1 + _KEY_MAX])
                return -EBADMSG;

        get_text(&reader, KEY_WHO, &hold->who);
        get_text(&reader, KEY_WHY, &hold->why);
        get_text(&reader, KEY_UNIT, &hold->unit);
        get_text(&reader, KEY_MATCH_MACHINE, &hold->match_machine);
        get_text(&reader, KEY_MATCH_UNIT, &hold->match_unit);
        get_kind(&reader, f);
        f->id = (uint32_t) get_number(&reader, KEY_ID, UINT32_MAX);
        f->uid = (uint32_t) get_number(&reader, KEY_UID, UINT32_MAX);
        f->pid = (uint32_t) get_number(&reader, KEY_PID, UINT32_MAX);
        f->since = get_number(&reader, KEY_SINCE, UINT64_MAX);
        f->until = get_number(&reader, KEY_UNTIL, UINT64_MAX);
        f->who = hold->who;
        f->why = hold->why;
        f->unit = hold->unit;
        hold->taken = get_number(&reader, KEY_TAKEN, UINT64_MAX);
        hold->ends = get_number(&reader, KEY_ENDS, UINT64_MAX);
        hold->announced = get_number(&reader, KEY_ANNOUNCED, 1) == 1;
        hold->match_pid = (uint32_t) get_number(&reader, KEY_MATCH_PID, UINT32_MAX);
        if (reader.error < 0)
                return reader.error;
        if (f->id == 0 || (hold->announced && f->what != HOLD_BUILD) || (f->mode == HOLD_DELAY && f->what != HOLD_UPDATE))
                return -EBADMSG;

        *ret = g_steal_pointer(&hold);
        return 0;
}
