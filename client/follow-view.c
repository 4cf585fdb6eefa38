/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/dict.h"
#include "client/escape.h"
#include "client/follow-view.h"
#include "client/output.h"
#include "client/result.h"
#include "client/time-text.h"

#define BAR_WIDTH 20

struct FollowView {
        const Tdxctl *t;
        bool silent, live, drawn;
        bool begun;                     /* the first line is out */
        uint64_t attempts_shown;        /* the highest number of an attempt that is out */
        char *last;                     /* the last line about the state */
        JsonObject *properties;
};

FollowView *follow_view_new(const Tdxctl *t) {
        FollowView *v = g_new0(FollowView, 1);
        const char *term = getenv("TERM");

        v->t = t;
        v->silent = t->options.json != JSON_OFF;
        v->live = !v->silent && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
        return v;
}

void follow_view_free(FollowView *v) {
        g_clear_pointer(&v->properties, json_object_unref);
        g_free(v->last);
        g_free(v);
}

bool follow_view_is_live(const FollowView *v) {
        return v->live;
}

static void erase(FollowView *v) {
        if (v->drawn)
                fputs("\r\x1b[K", stdout);
        v->drawn = false;
}

static bool shows_progress(const char *state) {
        return strcmp(state, "uploading") == 0 || strcmp(state, "verifying") == 0;
}

static char *bar(double progress) {
        g_autoptr(GString) text = g_string_new("[");
        int full = (int) (CLAMP(progress, 0.0, 1.0) * BAR_WIDTH + 0.5);

        for (int i = 0; i < BAR_WIDTH; i++)
                g_string_append_c(text, i < full ? '#' : '.');
        g_string_append_printf(text, "] %3d %%  ", (int) (CLAMP(progress, 0.0, 1.0) * 100 + 0.5));

        return g_string_free(g_steal_pointer(&text), false);
}

/* How long the backoff still lasts; nothing if the other host's clock is too far from ours to tell. */
static char *countdown(JsonObject *p) {
        int64_t left = (int64_t) dict_number(p, "NextAttempt") - g_get_real_time();
        g_autofree char *span = NULL;

        if (left <= 0 || left > INT64_C(3600) * 1000000)
                return g_strdup("");

        span = format_span((uint64_t) left);
        return g_strdup_printf("%s left; ", span);
}

static void draw(FollowView *v) {
        g_autofree char *extra = NULL, *reason = NULL, *state = NULL, *line = NULL, *cut = NULL;
        JsonObject *p = v->properties;

        /* How it finished is said at the end. */
        if (!v->live || !p || *dict_string(p, "Result"))
                return;

        state = escape_terminal(dict_string(p, "State"));
        reason = escape_terminal(dict_string(p, "Reason"));
        extra = shows_progress(state) ? bar(dict_real(p, "Progress")) : countdown(p);
        line = g_strdup_printf("  %-10s %s%s", state, extra, reason);
        cut = g_utf8_substring(line, 0, MIN(g_utf8_strlen(line, -1), (long) output_width() - 1));

        erase(v);
        printf("%s%s%s", colour(v->t, COLOUR_YELLOW), cut, colour(v->t, COLOUR_NONE));
        fflush(stdout);
        v->drawn = true;
}

static void line(FollowView *v, const char *head, const char *text) {
        erase(v);
        printf("  %-10s %s\n", head, text);
}

static void show_beginning(FollowView *v, JsonObject *p) {
        g_autofree char *from = escape_terminal(dict_string(p, "FromVersion")), *to = escape_terminal(dict_string(p, "ToVersion"));

        if (v->begun)
                return;

        printf("Job %" PRIu64 ": TDX module %s -> %s", dict_number(p, "Id"), from, to);
        if (dict_number(p, "Deadline") > 0) {
                g_autofree char *deadline = format_timestamp(dict_number(p, "Deadline"));

                printf(", deadline %s", deadline);
        }
        putchar('\n');
        v->begun = true;
}

static void show_attempts(FollowView *v, JsonObject *p) {
        JsonArray *log = dict_array(p, "AttemptLog");

        for (unsigned i = 0; i < array_length(log); i++) {
                JsonObject *attempt = array_object(log, i);
                uint64_t number = dict_number(attempt, "number");
                g_autofree char *text = NULL, *head = NULL;

                if (number <= v->attempts_shown || !*dict_string(attempt, "outcome"))
                        continue;
                v->attempts_shown = number;
                head = g_strdup_printf("attempt %" PRIu64, number);
                text = attempt_text(attempt);
                line(v, head, text);
        }
}

/* On a terminal the live line says it; in a pipe every change is a line. */
static void show_state(FollowView *v, JsonObject *p) {
        g_autofree char *state = escape_terminal(dict_string(p, "State")), *reason = escape_terminal(dict_string(p, "Reason"));
        g_autofree char *now = g_strdup_printf("%s %s", state, reason);

        if (v->live || strcmp(state, "finished") == 0 || g_strcmp0(now, v->last) == 0)
                return;

        line(v, state, reason);
        g_free(v->last);
        v->last = g_steal_pointer(&now);
}

void follow_view_update(FollowView *v, JsonObject *properties) {
        if (v->silent)
                return;

        if (v->properties != properties) {
                g_clear_pointer(&v->properties, json_object_unref);
                v->properties = json_object_ref(properties);
        }
        show_beginning(v, properties);
        show_attempts(v, properties);
        show_state(v, properties);
        draw(v);
}

void follow_view_redraw(FollowView *v) {
        draw(v);
}

void follow_view_note(FollowView *v, const char *text) {
        if (v->silent)
                return;

        line(v, "", text);
        draw(v);
}

void follow_view_end(FollowView *v) {
        erase(v);
        fflush(stdout);
        v->live = false;
}
