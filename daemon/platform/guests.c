/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fileio.h"
#include "base/limit.h"
#include "base/log.h"
#include "base/util.h"
#include "platform/abi.h"
#include "platform/guests-internal.h"
#include "platform/process.h"

/* For how long an event may have waited until it is read, generously. */
#define EVENT_DELAY (10 * USEC_PER_SEC)

/* For how long the folder of a VM that has been destroyed may still be there, generously. */
#define DYING_TIME (5 * USEC_PER_SEC)

static Guest *guest_ref(Guest *guest) {
        guest->refs++;
        return guest;
}

static void guest_unref(Guest *guest) {
        if (--guest->refs > 0)
                return;

        closep(&guest->folder);
        g_array_unref(guest->vcpus);
        g_free(guest->key);
        g_free(guest->name);
        g_free(guest->machine);
        g_free(guest->unit);
        g_free(guest);
}

void guest_close_folder(Guests *g, Guest *guest) {
        if (guest->folder >= 0)
                g->n_folders--;
        closep(&guest->folder);
        g_array_set_size(guest->vcpus, 0);
}

static bool take_number(const char **p, uint32_t *ret) {
        g_autofree char *digits = g_strndup(*p, strspn(*p, "0123456789"));
        uint64_t value;

        /* As printf() writes it: the same VM must not have two names. */
        if (parse_u64(digits, &value) < 0 || value > INT32_MAX || (*digits == '0' && digits[1] != '\0'))
                return false;
        *p += strlen(digits);
        *ret = (uint32_t) value;
        return true;
}

bool guest_key_parse(const char *key, uint32_t *ret_tid, uint32_t *ret_fd) {
        uint32_t tid, fd;

        if (!take_number(&key, &tid) || tid == 0 || *key++ != '-' || !take_number(&key, &fd) || *key)
                return false;
        if (ret_tid)
                *ret_tid = tid;
        if (ret_fd)
                *ret_fd = fd;
        return true;
}

/*
 * A VM came or went in this process (0: perhaps in any). Guest time is known to be a VM's only while its process has no
 * other: it is looked at afresh. Returns how many VMs the process has.
 */
static unsigned mix_guest_time(Guests *g, uint32_t pid) {
        unsigned n = 0;

        for (unsigned i = 0; i < g->list->len; i++) {
                Guest *other = g->list->pdata[i];

                if (pid != 0 && other->facts.pid != pid)
                        continue;
                other->have_guest_time = false;
                other->facts.alone = clock_boottime(&system_clock);
                n++;
        }
        return n;
}

static void insert_by_age(GPtrArray *list, Guest *guest) {
        unsigned i = list->len;

        while (i > 0 && ((const Guest *) list->pdata[i - 1])->facts.since > guest->facts.since)
                i--;
        g_ptr_array_insert(list, (int) i, guest);
}

/* debugfs's inodes have the time of their making, by a clock that lags behind by a tick at most. */
static uint64_t time_of_folder(const struct stat *st) {
        uint64_t made = (uint64_t) st->st_ctim.tv_sec * USEC_PER_SEC + (uint64_t) st->st_ctim.tv_nsec / 1000;

        return st->st_ctim.tv_sec > 0 ? MIN(made, clock_realtime(&system_clock)) : 0;
}

static Guest *guest_new(const char *key, uint32_t tid) {
        Guest *guest = g_new(Guest, 1);
        uint32_t fd;

        *guest = (Guest) {
                .key = g_strdup(key),
                .name = g_strdup(""),
                .machine = g_strdup(""),
                .unit = g_strdup(""),
                .refs = 1,
                .tid = tid,
                .fd = guest_key_parse(key, NULL, &fd) ? (int64_t) fd : -1,
                .added = clock_boottime(&system_clock),
                .folder = -1,
                .vcpus = g_array_new(false, false, sizeof(uint32_t)),
        };
        guest->facts = (GuestFacts) {
                .key = guest->key,
                .pid = tid,
                .name = guest->name,
                .machine = guest->machine,
                .unit = guest->unit,
                .known = guest->added,
                .alone = guest->added,
                .siblings = 1,
        };
        return guest;
}

static void mark(Guests *g, Guest *guest) {
        if (g->marking && g->marked->len < LIMIT_GUESTS)
                g_ptr_array_add(g->marked, guest_ref(guest));
        else if (g->marking)
                log_warning(0, "More than %u VMs appeared during an update, the latest are not named", LIMIT_GUESTS);
}

/* @earliest: it was not made before that. */
static Guest *add(Guests *g, const char *key, uint32_t tid, const struct stat *st, uint64_t earliest) {
        Guest *guest;

        if (g->list->len >= LIMIT_GUESTS) {
                g->overflow = true;
                return NULL;
        }

        guest = guest_new(key, tid);
        if (st) {
                guest->ino = st->st_ino;
                guest->has_folder = true;
                guest->facts.since = time_of_folder(st);
        }
        guest_find_process(g, guest);
        guest->facts.since = MAX(guest->facts.since, earliest);
        guest_describe(g, guest);

        guest->have_guest_time = mix_guest_time(g, guest->facts.pid) == 0;
        g_hash_table_insert(g->table, guest->key, guest);
        insert_by_age(g->list, guest);
        mark(g, guest);
        g->changed = true;
        return guest;
}

void guests_add(Guests *g, const char *key, uint32_t tid, const struct stat *st) {
        (void) add(g, key, tid, st, 0);
}

void guests_drop(Guests *g, Guest *guest) {
        mix_guest_time(g, guest->facts.pid);
        guest_close_folder(g, guest);
        g_ptr_array_remove(g->list, guest);
        g_hash_table_remove(g->table, guest->key);
        g->changed = true;
}

void guests_drop_all(Guests *g) {
        while (g->list->len > 0)
                guests_drop(g, g->list->pdata[g->list->len - 1]);
}

int guests_new(const Roots *roots, Guests **ret) {
        Guests *g = g_new0(Guests, 1);

        g->roots = roots;
        g->table = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) guest_unref);
        g->list = g_ptr_array_new();
        g->marked = g_ptr_array_new_with_free_func((GDestroyNotify) guest_unref);
        g->dying = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g->last_create = clock_boottime(&system_clock);
        g->full = true;

        *ret = g;
        return 0;
}

Guests *guests_free(Guests *g) {
        if (!g)
                return NULL;

        g_ptr_array_unref(g->marked);
        g_ptr_array_unref(g->list);
        g_hash_table_unref(g->table);
        g_hash_table_unref(g->dying);
        g_free(g->deaf);
        g_free(g->incomplete);
        g_free(g->scan_incomplete);
        g_free(g);
        return NULL;
}

static bool stat_folder(const Guests *g, const char *key, struct stat *ret) {
        g_autofree char *path = g_strdup_printf(ABI_DEBUGFS_KVM "/%s", key);

        return g->roots->debugfs_fd >= 0 && fstatat(g->roots->debugfs_fd, path, ret, AT_SYMLINK_NOFOLLOW) >= 0;
}

/*
 * The counts are taken under a lock, the event is sent after it: two events can come the other way round. Between two
 * VMs that are made, the number of those alive only falls; so the newest of some events is the one with most made, and among
 * those the one with fewest alive. KVM counts anew when its module is loaded anew.
 */
static void note_counts(Guests *g, const KvmEvent *event) {
        KvmCounts *c = &g->counts;

        if (!event->have_counts) {
                g->full = true;
                c->have = false;
                return;
        }

        if (c->have && event->created != c->created + (event->create ? 1 : 0))
                g->full = true;
        if (!c->have || event->created > c->created || (event->created == c->created && event->count <= c->count) ||
            (event->create && event->created == 1))
                *c = (KvmCounts) { true, event->created, event->count };
}

/* debugfs may have gone from its place, and be there in the events: then the name in the table comes from /proc. */
static Guest *find_named(const Guests *g, const KvmEvent *event) {
        Guest *guest = g_hash_table_lookup(g->table, event->key);
        uint32_t tid, fd, pid;

        if (guest || !guest_key_parse(event->key, &tid, &fd) || process_of_thread(g->roots, tid, &pid) < 0)
                return guest;

        for (unsigned i = 0; i < g->list->len; i++) {
                guest = g->list->pdata[i];
                if (!guest->has_folder && guest->facts.pid == pid && guest->fd == (int64_t) fd)
                        return guest;
        }
        return NULL;
}

/* The only one without a name that this thread made. With several nobody can tell which it is. */
static Guest *find_nameless(const Guests *g, uint32_t tid) {
        Guest *found = NULL;

        for (unsigned i = 0; i < g->list->len; i++) {
                Guest *guest = g->list->pdata[i];

                if (guest->has_folder || (guest->tid != tid && guest->facts.pid != tid))
                        continue;
                if (found)
                        return NULL;
                found = guest;
        }
        return found;
}

static void on_create(Guests *g, const KvmEvent *event) {
        g_autofree char *made_up = NULL;
        const char *key = event->key;
        Guest *guest = NULL;
        struct stat st;
        bool have_folder = false;

        g->last_create = g->deaf ? 0 : clock_boottime(&system_clock);
        if (key) {
                have_folder = stat_folder(g, key, &st);
                guest = find_named(g, event);
                g_hash_table_remove(g->dying, key);
        } else
                key = made_up = g_strdup_printf("%" PRIu32 "?%" PRIu64, event->tid, event->created);

        /* A scan may have been faster than the event. */
        if (guest && have_folder && guest->ino == st.st_ino)
                return;
        if (guest)
                guests_drop(g, guest);

        guest = add(g, key, event->tid, have_folder ? &st : NULL,
                    have_folder ? 0 : clock_realtime(&system_clock) - EVENT_DELAY);
        if (guest)
                guest->has_folder = event->key != NULL;
}

static void on_destroy(Guests *g, const KvmEvent *event) {
        Guest *guest = event->key ? find_named(g, event) : find_nameless(g, event->tid);
        struct stat st;

        if (event->key && stat_folder(g, event->key, &st)) {
                uint64_t ino = st.st_ino;

                /* Its name may be another VM's already: that one must not be taken for the dying one. */
                if (!guest || guest->ino == 0 || guest->ino == ino) {
                        g_hash_table_insert(g->dying, g_strdup(event->key), g_memdup2(&ino, sizeof(ino)));
                        g->dying_until = clock_boottime(&system_clock) + DYING_TIME;
                }
        }
        if (guest)
                guests_drop(g, guest);
        else
                g->full = true;
}

void guests_on_event(Guests *g, const KvmEvent *event) {
        if (event->key && !guest_key_parse(event->key, NULL, NULL)) {
                guests_on_loss(g, NULL);
                return;
        }

        note_counts(g, event);
        if (event->create)
                on_create(g, event);
        else
                on_destroy(g, event);
        if (g->counts.have && g->counts.count != g->list->len)
                g->full = true;
}

void guests_on_loss(Guests *g, const char *why) {
        if (why) {
                g_free(g->deaf);
                g->deaf = g_strdup(why);
        }
        g->last_create = g->deaf ? 0 : clock_boottime(&system_clock);
        g->counts.have = false;
        g->full = true;
        g->changed = true;
        mix_guest_time(g, 0);
}

static bool is_absent(const Guests *g, const char *folder, const char *path) {
        return faccessat(g->roots->sysfs_fd, folder, X_OK, 0) == 0 && faccessat(g->roots->sysfs_fd, path, F_OK, 0) < 0 &&
               errno == ENOENT;
}

/* No module, or nothing that makes VMs with it (kvm_intel, kvm_amd): that registers /dev/kvm. */
static bool kvm_is_absent(const Guests *g) {
        return is_absent(g, ABI_MODULES, ABI_KVM) || is_absent(g, ABI_MISC_DEVICES, ABI_KVM_DEVICE);
}

static void count_siblings(Guests *g) {
        g_autoptr(GHashTable) counts = g_hash_table_new(NULL, NULL);

        for (unsigned i = 0; i < g->list->len; i++) {
                void *pid = GUINT_TO_POINTER(((const Guest *) g->list->pdata[i])->facts.pid);

                g_hash_table_insert(counts, pid, GUINT_TO_POINTER(GPOINTER_TO_UINT(g_hash_table_lookup(counts, pid)) + 1));
        }
        g->strangers = false;
        for (unsigned i = 0; i < g->list->len; i++) {
                Guest *guest = g->list->pdata[i];

                g->strangers = g->strangers || guest->facts.start_time == 0;
                guest->facts.siblings = GPOINTER_TO_UINT(g_hash_table_lookup(counts, GUINT_TO_POINTER(guest->facts.pid)));
        }
}

static char *why_incomplete(const Guests *g) {
        if (g->deaf)
                return g_strdup(g->deaf);
        if (g->scan_incomplete)
                return g_strdup(g->scan_incomplete);
        if (g->overflow)
                return g_strdup_printf("there are more than the %u VMs that can be followed", LIMIT_GUESTS);
        if (g->counts.have && g->counts.count > g->list->len)
                return g_strdup_printf("KVM counts %" PRIu64 " VM%s, but only %u can be found; this is looked at again when the next one begins or ends",
                                       g->counts.count, g->counts.count == 1 ? "" : "s", g->list->len);
        return NULL;
}

static void set_incomplete(Guests *g, char *text) {
        if (g_strcmp0(g->incomplete, text) != 0)
                g->changed = true;
        g_free(g->incomplete);
        g->incomplete = text;
}

static void scan(Guests *g) {
        bool full = g->full;

        if (full)
                mix_guest_time(g, 0);
        guests_scan(g);
        for (unsigned i = 0; full && i < g->list->len; i++)
                guest_describe(g, g->list->pdata[i]);
        set_incomplete(g, why_incomplete(g));
}

static void look(Guests *g, Guest *guest, bool no_tds) {
        GuestFacts *f = &guest->facts;

        if (f->ran == 0) {
                guest_look(g, guest);
                if (f->ran != 0)
                        guest_describe(g, guest);
        }
        /* A TD that has run is counted until it is gone, and a VM that is none never becomes one. */
        if (f->ran != 0 && no_tds && !f->ran_without_tds)
                f->ran_without_tds = g->changed = true;
}

bool guests_update(Guests *g, bool no_tds) {
        bool changed;

        if (kvm_is_absent(g)) {
                guests_drop_all(g);
                g_hash_table_remove_all(g->dying);
                g->counts.have = false;
                g->overflow = false;
                g->full = true;
                set_incomplete(g, NULL);
        } else {
                scan(g);
                count_siblings(g);
                for (unsigned i = 0; i < g->list->len; i++)
                        look(g, g->list->pdata[i], no_tds);
        }

        changed = g->changed;
        g->changed = false;
        return changed;
}

static const GuestFacts *const *get(const GPtrArray *list, size_t *ret_n) {
        *ret_n = list->len;
        return (const GuestFacts *const *) list->pdata;
}

const GuestFacts *const *guests_get(const Guests *g, size_t *ret_n) {
        return get(g->list, ret_n);
}

const char *guests_incomplete(const Guests *g) {
        return g->incomplete;
}

uint64_t guests_last_create(const Guests *g) {
        return g->last_create;
}

void guests_mark(Guests *g) {
        g_ptr_array_set_size(g->marked, 0);
        g->marking = true;
}

const GuestFacts *const *guests_since_mark(const Guests *g, size_t *ret_n) {
        return get(g->marked, ret_n);
}
