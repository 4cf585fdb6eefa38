/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/span.h"
#include "base/util.h"
#include "calendar.h"
#include "window.h"

/*
 * systemd is asked for so many times at once: more would cost more than they are worth, since its answer is believed for
 * an hour alone; by then the time zone's rules, or the host's zone, may have changed. A job that waits looks every 250 ms,
 * and that must not start a process each time.
 */
#define N_TIMES 16U
#define BELIEVED_FOR (3600 * USEC_PER_SEC)
#define RETRY_AFTER (60 * USEC_PER_SEC)

struct Window {
        char *text, *calendar;
        uint64_t duration;      /* usec */

        /* What systemd said: every time after @after that comes before the last one, or every one when it is complete. */
        uint64_t asked;         /* realtime usec, 0: never */
        int error;              /* of that question */
        uint64_t after;         /* usec */
        uint64_t times[N_TIMES];        /* usec */
        size_t n;
};

static int ask(const char *calendar, uint64_t after, uint64_t *ret, size_t *ret_n) {
        int r;

        r = calendar_next(calendar, after / USEC_PER_SEC, N_TIMES, ret, ret_n);
        for (size_t i = 0; r >= 0 && i < *ret_n; i++)
                ret[i] *= USEC_PER_SEC;
        return r;
}

/* The calendar ends where the longest text that is a time span begins: "Sat 02:00 1h 30min". */
static char *split(const char *text, uint64_t *ret_duration) {
        for (const char *p = text; *p; p++)
                if ((p == text || p[-1] == ' ') && *p != ' ' && span_parse(p, ret_duration) >= 0)
                        return g_strchomp(g_strndup(text, (size_t) (p - text)));
        return NULL;
}

static char *explain(int error, const char *calendar) {
        switch (error) {
        case -EINVAL:
                return g_strdup_printf("\"%s\" is no calendar expression of systemd.time(7); try: systemd-analyze calendar \"%s\"", calendar, calendar);
        case -ENOENT:
                return g_strdup("there is no systemd-analyze in /usr/bin, which knows the calendar; install all of systemd, or remove the windows");
        case -ERANGE:
                return g_strdup_printf("\"%s\" begins more often than can be followed; a window begins at most once a second", calendar);
        default:
                return g_strdup_printf("systemd-analyze does not answer about \"%s\" (%s); try: systemd-analyze calendar \"%s\"", calendar, g_strerror(-error), calendar);
        }
}

int window_parse(const char *text, Window **ret, char **ret_problem) {
        g_autoptr(Window) window = g_new0(Window, 1);
        uint64_t times[N_TIMES];
        size_t n;
        int r;

        window->text = g_strstrip(g_strdup(text));
        window->calendar = split(window->text, &window->duration);
        if (!window->calendar) {
                *ret_problem = g_strdup_printf("\"%s\" does not end in a duration, such as 4h or 90min", window->text);
                return -EINVAL;
        }
        if (!*window->calendar) {
                *ret_problem = g_strdup_printf("\"%s\" has no calendar expression before its duration, such as Sat,Sun 02:00", window->text);
                return -EINVAL;
        }
        if (window->duration < USEC_PER_SEC || window->duration == USEC_INFINITY) {
                *ret_problem = g_strdup_printf("the duration of \"%s\" must be at least a second, and finite", window->text);
                return -EINVAL;
        }

        r = calendar_next(window->calendar, 0, 1, times, &n);
        if (r < 0) {
                *ret_problem = explain(r, window->calendar);
                return -EINVAL;
        }

        *ret = g_steal_pointer(&window);
        return 0;
}

Window *window_free(Window *window) {
        if (!window)
                return NULL;

        g_free(window->text);
        g_free(window->calendar);
        g_free(window);
        return NULL;
}

const char *window_text(const Window *window) {
        return window->text;
}

static uint64_t add(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? USEC_INFINITY - 1 : sum;
}

/* A window is open for whoever comes up to @duration after its begin, so what counts are the times after this one. */
static uint64_t lower_bound(const Window *w, uint64_t now) {
        return now > w->duration ? now - w->duration : 0;
}

/* Does what is known say whether the window is open at @when? */
static bool covers(const Window *w, uint64_t when) {
        uint64_t low = lower_bound(w, when);

        return w->error == 0 && w->after <= low && (w->n < N_TIMES || low < w->times[w->n - 1]);
}

static void refresh(Window *w, uint64_t now) {
        uint64_t after = lower_bound(w, now) / USEC_PER_SEC * USEC_PER_SEC;
        bool back = now < w->asked, known = w->asked > 0 && !back;

        if (known && w->error == 0 && now - w->asked < BELIEVED_FOR && covers(w, now))
                return;
        /* Not at each look: a systemd-analyze that hangs stops the loop for as long as it is waited for. */
        if (known && w->error < 0 && now - w->asked < RETRY_AFTER)
                return;

        w->asked = now;
        w->after = after;
        w->n = 0;
        w->error = ask(w->calendar, after, w->times, &w->n);
        if (w->error == 0 && !covers(w, now))
                w->error = -ERANGE;
        if (w->error < 0) {
                g_autofree char *problem = explain(w->error, w->calendar);

                log_warning(0, "The maintenance window \"%s\" stays closed: %s", w->text, problem);
        }
}

/*
 * By what is known: is it open at @when, and until when does that hold? Windows that follow each other without a pause
 * are one. *@ret_until: UINT64_MAX when no more is known, 0 when it never opens again. The end that is told may be earlier
 * than the true one, when there are more times than were asked for.
 */
static bool look(const Window *w, uint64_t when, uint64_t *ret_until) {
        uint64_t low = lower_bound(w, when), end;
        size_t i = 0;

        *ret_until = USEC_INFINITY;
        if (!covers(w, when))
                return false;

        while (i < w->n && w->times[i] <= low)
                i++;
        if (i == w->n) {
                *ret_until = 0;
                return false;
        }
        if (w->times[i] > when) {
                *ret_until = w->times[i];
                return false;
        }

        end = add(w->times[i], w->duration);
        while (++i < w->n && w->times[i] <= end)
                end = add(w->times[i], w->duration);
        *ret_until = end;
        return true;
}

/* Each step is to the end of some window, so it goes forward; windows that overlap for ever are followed to here. */
#define JOINS_MAX 1024U

static uint64_t join(Window *const *windows, size_t n, uint64_t end) {
        for (unsigned joins = 0; joins < JOINS_MAX; joins++) {
                uint64_t latest = end;

                for (size_t i = 0; i < n; i++) {
                        uint64_t until;

                        if (look(windows[i], end, &until))
                                latest = MAX(latest, until);
                }
                if (latest == end)
                        break;
                end = latest;
        }
        return end;
}

bool windows_open(Window *const *windows, size_t n, uint64_t now, uint64_t *ret_until) {
        uint64_t opens = USEC_INFINITY, closes = 0;
        bool unknown = false;

        *ret_until = 0;
        if (n == 0)
                return true;

        for (size_t i = 0; i < n; i++) {
                uint64_t until;

                refresh(windows[i], now);
                if (look(windows[i], now, &until))
                        closes = MAX(closes, until);
                else if (until == USEC_INFINITY)
                        unknown = true;
                else if (until > 0)
                        opens = MIN(opens, until);
        }

        if (closes > 0) {
                *ret_until = join(windows, n, closes);
                return true;
        }
        *ret_until = opens < USEC_INFINITY || unknown ? opens : 0;
        return false;
}
