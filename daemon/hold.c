/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "hold-internal.h"

/* A VM's time of creation and ours of the announcement come from different places. */
#define MATCH_SLACK_USEC USEC_PER_SEC

struct Holds {
        sd_event *event;
        GPtrArray *list;                /* of Hold, oldest first */
        GArray *facts;                  /* of HoldFacts, the same */
        sd_event_source *timer;         /* the first announced build comes to its end */
        sd_event_source *tell;          /* deferred: tell that something has changed */
        void (*changed)(void *userdata);
        void *userdata;
        uint32_t last_id;
        unsigned stored;                /* descriptors in the fd store */
        bool storeless;                 /* that there is no fd store has been said */
};

Hold *hold_new(void) {
        Hold *hold = g_new0(Hold, 1);

        hold->fd = -1;
        hold->ends = UINT64_MAX;
        return hold;
}

Hold *hold_free(Hold *hold) {
        if (!hold)
                return NULL;

        sd_event_source_disable_unref(hold->source);
        closep(&hold->fd);
        g_free(hold->who);
        g_free(hold->why);
        g_free(hold->unit);
        g_free(hold->match_machine);
        g_free(hold->match_unit);
        g_free(hold);
        return NULL;
}

static void hold_destroy(void *data) {
        hold_free(data);
}

static Hold *find(const Holds *holds, uint32_t id) {
        for (unsigned i = 0; i < holds->list->len; i++)
                if (((Hold *) holds->list->pdata[i])->facts.id == id)
                        return holds->list->pdata[i];

        return NULL;
}

/*
 * From a random start: whoever still has the id of a build that has ended, perhaps before a restart of the daemon, must
 * not end another one by it.
 */
static uint32_t next_id(Holds *holds) {
        do
                holds->last_id++;
        while (holds->last_id == 0 || find(holds, holds->last_id));

        return holds->last_id;
}

static int on_tell(sd_event_source *source, void *userdata) {
        Holds *holds = userdata;

        holds->changed(holds->userdata);
        return 0;
}

static void arm_timer(Holds *holds) {
        uint64_t next = UINT64_MAX;
        int r;

        for (unsigned i = 0; i < holds->list->len; i++)
                next = MIN(next, ((Hold *) holds->list->pdata[i])->ends);

        r = sd_event_source_set_time(holds->timer, next);
        if (r >= 0)
                r = sd_event_source_set_enabled(holds->timer, next == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        if (r < 0) {
                /* A build that was announced would never end. */
                log_error(r, "Failed to arm the timer of the announced builds");
                (void) sd_event_exit(holds->event, EXIT_FAILURE);
        }
}

/* The list is another one now. */
static void follow_list(Holds *holds) {
        g_array_set_size(holds->facts, 0);
        for (unsigned i = 0; i < holds->list->len; i++)
                g_array_append_val(holds->facts, ((Hold *) holds->list->pdata[i])->facts);

        arm_timer(holds);
}

static void tell(Holds *holds) {
        int r;

        r = sd_event_source_set_enabled(holds->tell, SD_EVENT_ONESHOT);
        if (r < 0)
                log_error(r, "Failed to tell that the holds have changed");
}

static void drop(Hold *hold) {
        Holds *holds = hold->holds;

        holds->stored -= hold_store_need(hold);
        hold_store_remove(hold->facts.id);
        g_ptr_array_remove(holds->list, hold);
        follow_list(holds);
        tell(holds);
}

/* Nothing else is asked for than whether the other end is there: what is written into the pipe stays in it, unread. */
static int on_released(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Hold *hold = userdata;

        log_debug("The hold %" PRIu32 " was released", hold->facts.id);
        drop(hold);
        return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
        Holds *holds = userdata;
        uint64_t now = clock_boottime(&system_clock);

        for (unsigned i = holds->list->len; i > 0; i--) {
                Hold *hold = holds->list->pdata[i - 1];

                if (now < hold->ends)
                        continue;
                log_info("The build that process %" PRIu32 " announced was not ended in its time, going on without", hold->facts.pid);
                drop(hold);
        }

        arm_timer(holds);
        return 0;
}

/* Whatever fails here has changed nothing. */
static int watch(Holds *holds, Hold *hold) {
        hold->holds = holds;
        return hold->fd < 0 ? 0 : sd_event_add_io(holds->event, &hold->source, hold->fd, 0, on_released, hold);
}

static bool is_released(const Hold *hold) {
        struct pollfd p = { .fd = hold->fd };

        return hold->fd >= 0 && poll(&p, 1, 0) > 0;
}

static int by_age(const void *a, const void *b) {
        const Hold *x = *(Hold *const *) a, *y = *(Hold *const *) b;

        return x->taken < y->taken ? -1 : x->taken > y->taken ? 1 : x->facts.id < y->facts.id ? -1 : x->facts.id > y->facts.id;
}

static int take_over(Holds *holds) {
        g_autoptr(GPtrArray) kept = NULL;
        uint64_t now = clock_boottime(&system_clock);
        int r, error = 0;

        r = hold_store_take_over(&kept);
        if (r < 0)
                return r;

        for (unsigned i = 0; i < kept->len; i++) {
                g_autoptr(Hold) hold = kept->pdata[i];

                if (is_released(hold) || now >= hold->ends) {
                        hold_store_remove(hold->facts.id);
                        continue;
                }
                r = watch(holds, hold);
                if (r < 0) {
                        error = r;
                        continue;
                }
                holds->stored += hold_store_need(hold);
                g_ptr_array_add(holds->list, g_steal_pointer(&hold));
        }

        g_ptr_array_sort(holds->list, by_age);
        follow_list(holds);
        if (holds->list->len > 0)
                log_info("Holds that are still held from before this start: %u", holds->list->len);
        return error;
}

int holds_new(sd_event *event, void (*changed)(void *userdata), void *userdata, Holds **ret) {
        g_autoptr(Holds) holds = g_new0(Holds, 1);
        int r;

        holds->event = sd_event_ref(event);
        holds->changed = changed;
        holds->userdata = userdata;
        holds->list = g_ptr_array_new_with_free_func(hold_destroy);
        holds->facts = g_array_new(false, false, sizeof(HoldFacts));
        holds->last_id = g_random_int();

        r = sd_event_add_time(event, &holds->timer, CLOCK_BOOTTIME, UINT64_MAX, USEC_PER_MSEC, on_time, holds);
        if (r >= 0)
                r = sd_event_add_defer(event, &holds->tell, on_tell, holds);
        if (r >= 0)
                r = sd_event_source_set_enabled(holds->tell, SD_EVENT_OFF);
        if (r >= 0)
                r = take_over(holds);
        if (r < 0)
                return r;

        *ret = g_steal_pointer(&holds);
        return 0;
}

Holds *holds_free(Holds *holds) {
        if (!holds)
                return NULL;

        sd_event_source_disable_unref(holds->timer);
        sd_event_source_disable_unref(holds->tell);
        g_ptr_array_unref(holds->list);
        g_array_unref(holds->facts);
        sd_event_unref(holds->event);
        g_free(holds);
        return NULL;
}

static int check_limits(const Holds *holds, const Hold *hold, const HoldLimits *limits, Failure *failure) {
        unsigned own = 0, room = hold_store_room();

        for (unsigned i = 0; i < holds->list->len; i++)
                if (((Hold *) holds->list->pdata[i])->facts.uid == hold->facts.uid)
                        own++;

        if (own >= limits->per_user)
                return failure_set(failure, ERROR_LIMIT_EXCEEDED,
                                   "This user has %u holds, and may have %u (MaxHoldsPerUser=); release one that is not needed any more",
                                   own, limits->per_user);
        if (holds->list->len >= limits->all)
                return failure_set(failure, ERROR_LIMIT_EXCEEDED,
                                   "There are %u holds, and may be %u (MaxHolds=); see tdxctl holds for who has them", holds->list->len, limits->all);
        if (holds->stored + hold_store_need(hold) > room)
                return failure_set(failure, ERROR_LIMIT_EXCEEDED,
                                   "The holds take %u of the %u descriptors that systemd keeps for the service (FileDescriptorStoreMax=), so that "
                                   "one more would not survive a restart of it; see tdxctl holds for who has them", holds->stored, room);
        return 0;
}

static void say_that_there_is_no_store(Holds *holds) {
        if (!holds->storeless)
                log_notice("There is no service manager to keep descriptors ($NOTIFY_SOCKET is not set): holds end with this process");
        holds->storeless = true;
}

/* Takes the hold. */
static int add(Holds *holds, Hold *taken, Failure *failure) {
        g_autoptr(Hold) hold = taken;
        int r;

        r = watch(holds, hold);
        if (r >= 0)
                r = hold_store_put(hold);
        if (r < 0)
                return failure_set(failure, ERROR_IO, "The hold cannot be kept: %s; try again later", g_strerror(-r));
        if (r == 0)
                say_that_there_is_no_store(holds);

        log_debug("The hold %" PRIu32 " (%s, %s) was taken by process %" PRIu32 " of user %" PRIu32, hold->facts.id,
                  hold_what_to_string(hold->facts.what), hold_mode_to_string(hold->facts.mode), hold->facts.pid, hold->facts.uid);
        holds->stored += hold_store_need(hold);
        g_ptr_array_add(holds->list, g_steal_pointer(&hold));
        follow_list(holds);
        tell(holds);
        return 0;
}

static Hold *make(Holds *holds, const HoldRequest *request) {
        Hold *hold = hold_new();

        hold->who = g_strdup(request->who);
        hold->why = g_strdup(request->why);
        hold->unit = g_strdup(request->unit);
        hold->match_machine = g_strdup("");
        hold->match_unit = g_strdup("");
        hold->taken = clock_boottime(&system_clock);
        hold->facts = (HoldFacts) {
                .id = next_id(holds),
                .what = request->what,
                .mode = request->mode,
                .who = hold->who,
                .why = hold->why,
                .unit = hold->unit,
                .uid = request->uid,
                .pid = (uint32_t) request->pid,
                .since = clock_realtime(&system_clock),
        };
        return hold;
}

int holds_take(Holds *holds, const HoldRequest *request, const HoldLimits *limits, int *ret_fd, Failure *failure) {
        g_autoptr(Hold) hold = make(holds, request);
        _cleanup_close_ int write_fd = -1;
        int fds[2], r;

        r = check_limits(holds, hold, limits, failure);
        if (r < 0)
                return r;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return failure_set(failure, ERROR_IO, "The hold cannot be made: %s; try again later", g_strerror(errno));
        hold->fd = fds[0];
        write_fd = fds[1];

        r = add(holds, g_steal_pointer(&hold), failure);
        if (r < 0)
                return r;

        *ret_fd = steal_fd(&write_fd);
        return 0;
}

int holds_announce(Holds *holds, const HoldRequest *request, const BuildMatch *match, uint64_t hold_usec, const HoldLimits *limits,
                   uint32_t *ret_id, Failure *failure) {
        g_autoptr(Hold) hold = make(holds, request);
        uint32_t id = hold->facts.id;
        int r;

        hold->announced = true;
        hold->match_pid = match->pid;
        g_free(hold->match_machine);
        g_free(hold->match_unit);
        hold->match_machine = g_strdup(match->machine);
        hold->match_unit = g_strdup(match->unit);
        if (__builtin_add_overflow(hold->taken, hold_usec, &hold->ends))
                hold->ends = UINT64_MAX;
        if (hold->ends != UINT64_MAX && __builtin_add_overflow(hold->facts.since, hold_usec, &hold->facts.until))
                hold->facts.until = 0;

        r = check_limits(holds, hold, limits, failure);
        if (r >= 0)
                r = add(holds, g_steal_pointer(&hold), failure);
        if (r < 0)
                return r;

        *ret_id = id;
        return 0;
}

int holds_end(Holds *holds, uint32_t id, uid_t uid, Failure *failure) {
        Hold *hold = find(holds, id);

        if (!hold || !hold->announced || hold->facts.uid != uid)
                return failure_set(failure, ERROR_NO_SUCH_HOLD,
                                   "This user has announced no build %" PRIu32 ", or it has ended already, by its VM or by time", id);

        log_debug("The announced build %" PRIu32 " was ended", id);
        drop(hold);
        return 0;
}

/* libvirt registers a VM as qemu-NUMBER-NAME, the number being another one each time; who announces it knows the name. */
static bool is_machine(const char *machine, const char *wanted) {
        const char *p = machine;

        if (strcmp(machine, wanted) == 0)
                return true;
        if (!g_str_has_prefix(p, "qemu-"))
                return false;

        p += strlen("qemu-");
        if (!g_ascii_isdigit(*p))
                return false;
        p += strspn(p, "0123456789");
        return *p == '-' && strcmp(p + 1, wanted) == 0;
}

/*
 * A time that is not known is no proof. After a restart of the daemon all VMs are known since then, so that the time of
 * day must agree; and where that was set back, the boot's clock.
 */
static bool is_past_build(const Hold *hold, const GuestFacts *guest) {
        if (hold->match_pid == 0 && !*hold->match_machine && !*hold->match_unit)
                return false;
        if (hold->match_pid != 0 && guest->pid != hold->match_pid)
                return false;
        if (*hold->match_machine && !is_machine(guest->machine, hold->match_machine))
                return false;
        if (*hold->match_unit && strcmp(guest->unit, hold->match_unit) != 0)
                return false;

        return guest->ran != 0 && guest->since != 0 && guest->since + MATCH_SLACK_USEC >= hold->facts.since &&
               guest->known + MATCH_SLACK_USEC >= hold->taken;
}

void holds_match(Holds *holds, const GuestFacts *const *guests, size_t n_guests) {
        for (unsigned i = holds->list->len; i > 0; i--) {
                Hold *hold = holds->list->pdata[i - 1];
                bool past = false;

                for (size_t k = 0; k < n_guests && !past; k++)
                        past = is_past_build(hold, guests[k]);
                if (!past)
                        continue;

                log_debug("The VM of the announced build %" PRIu32 " runs", hold->facts.id);
                drop(hold);
        }
}

const HoldFacts *holds_get(const Holds *holds, size_t *ret_n) {
        *ret_n = holds->facts->len;
        return (const HoldFacts *) (const void *) holds->facts->data;
}
