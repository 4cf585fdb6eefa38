/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

/*
 * Is a TD being built? Pure: what is known of VMs, TDs and builds, and what follows from it. Who reads
 * KVM's reports is in platform/. Everything without evidence is unknown, and unknown is busy.
 */
typedef enum Activity {
        ACTIVITY_UNKNOWN,
        ACTIVITY_BUSY,
        ACTIVITY_IDLE,
        _ACTIVITY_MAX,
} Activity;

/* What an answer rests on, the strongest first. */
typedef enum Tier {
        TIER_PROVEN,            /* T0: no TD can be in its build */
        TIER_EXACT,             /* T1: probes on the kernel's SEAM call wrappers */
        TIER_INFERRED,          /* T2: KVM's own reports */
        TIER_GUESSED,           /* T3: a quiet time; an operator's choice */
        TIER_NONE,
        _TIER_MAX,
} Tier;

/*
 * A TD cannot run a vCPU before it is finalised (KVM refuses KVM_RUN, arch/x86/kvm/vmx/tdx.c), so a sign that a
 * vCPU ran shows that the build is over, for good. The absence of a sign shows nothing.
 */
typedef enum Sign {
        SIGN_UNREADABLE,        /* could not be looked at */
        SIGN_ABSENT,            /* was looked at, and is not there */
        SIGN_SEEN,
} Sign;

typedef struct GuestSigns {
        Sign vcpu_pid;          /* debugfs vcpuN/pid is not 0: set at the vCPU's first KVM_RUN, never back to 0 */
        Sign exits;             /* debugfs exits is above 0; lockdown makes it unreadable */
        Sign guest_time;        /* /proc/PID/stat field 43 is above 0; only where the process has this VM alone */
} GuestSigns;

typedef enum GuestPhase {
        GUEST_UNKNOWN,          /* no sign could be looked at */
        GUEST_BUILDING,         /* in its build, or may be: nothing shows that it is over */
        GUEST_RUNNING,          /* past any build */
        _GUEST_PHASE_MAX,
} GuestPhase;

/* Is it a TD? No only by proof. */
typedef enum GuestTd {
        GUEST_TD_UNKNOWN,
        GUEST_TD_YES,
        GUEST_TD_NO,
        _GUEST_TD_MAX,
} GuestTd;

/* One VM that KVM has reported and that is alive. */
typedef struct GuestFacts {
        const char *key;        /* KVM's name of it below debugfs kvm/, "PID-FD": unique among those alive */
        uint32_t pid;           /* the VMM's process, initial PID namespace; the creating thread's id when not known */
        uint64_t start_time;    /* of that process: proc(5) stat field 22, clock ticks since boot; 0: not known */
        const char *name;       /* the VMM's comm, "" when not known */
        const char *machine;    /* systemd's machine name, "" for none */
        const char *unit;       /* systemd unit, "" when not known */
        uint64_t since;         /* realtime usec when KVM made it, or the earliest time that is possible; 0: not known */
        uint64_t known;         /* boottime usec since when it is known to be there: the rules' own time, that no clock step moves */
        uint64_t alone;         /* boottime usec since when no other VM came or went in its process; not before known */
        uint64_t ran;           /* realtime usec when it was first seen to have run, 0: not yet */
        unsigned siblings;      /* VMs alive in the same process, this one included */
        GuestSigns signs;       /* as of the last look; not looked at any more once it ran */
        bool ran_without_tds;   /* it was seen running while KVM counted no TD: proof that it is none */
} GuestFacts;

/* One TD that the probes have seen to begin (T1). */
typedef struct BuildFacts {
        uint64_t td;            /* the kernel's pointer, as a name only */
        uint32_t pid;           /* of the process that began it */
        const char *name;       /* that process's comm then */
        uint64_t since;         /* realtime usec when the build began */
        uint64_t began;         /* the same in boottime usec */
        bool finalized;         /* the build is over */
} BuildFacts;

/* What the probes (T1) say. */
typedef struct ProbeFacts {
        const char *unavailable; /* why they say nothing, NULL: they do */
        const char *doubt;      /* records were lost: what they say of any one TD may be wrong; NULL: none were */
        bool complete;          /* no TD is older than the probes */
        uint64_t from;          /* realtime usec when they were attached, for people */
        const BuildFacts *builds;
        size_t n_builds;
} ProbeFacts;

/* A VM that an operator knows to be harmless: both must agree, since pids are used again. */
typedef struct IgnoredGuest {
        uint32_t pid;
        uint64_t start_time;
} IgnoredGuest;

/* What is known, and by which rules it is judged. */
typedef struct HostActivity {
        const char *impossible; /* why no TD can be built here (kvm_intel without TDX, no KVM), or NULL */
        bool have_tds;
        uint64_t tds;           /* TDs that have begun and are not destroyed (misc cgroup, root) */
        const char *tds_error;  /* why it could not be read */
        const GuestFacts *const *guests;
        size_t n_guests;
        const char *incomplete; /* why the list of guests is not known to be all of them, or NULL */
        ProbeFacts probes;
        uint64_t now;           /* boottime usec */
        uint64_t last_create;   /* boottime usec of KVM's last create event, or of when listening to them began; 0: not heard */
        uint64_t stale;         /* usec: StaleGuestSec= */
        uint64_t quiet;         /* usec: QuietSec=, UINT64_MAX: no guesses */
        const IgnoredGuest *ignored;
        size_t n_ignored;
} HostActivity;

/* What is to be said of one guest. */
typedef struct GuestVerdict {
        GuestPhase phase;
        GuestTd td;
        Tier tier;
        char *evidence;         /* in words */
        char *subject;          /* "NAME[PID]" */
        bool blocks;            /* an update now could hurt it, or that cannot be excluded */
        bool exact;             /* what it waits for is an event, so looking again is not needed */
        bool stale;             /* without a sign of running for longer than StaleGuestSec= */
} GuestVerdict;

/* One reason why a TD may be in its build. */
typedef struct ActivityReason {
        Tier tier;              /* what it rests on */
        bool building;          /* a guest that is, or may be, in its build; false: it is not known */
        bool ignored;           /* on request: shown, blocks nothing */
        char *subject;          /* the guest, "" for none */
        char *text;
} ActivityReason;

typedef struct ActivityVerdict {
        Activity activity;
        Tier tier;
        bool impossible;        /* no TD can be built here at all */
        bool no_tds;            /* none exists now */
        char *text;             /* what proves that there is none, or the first reason */
        ActivityReason *reasons;
        size_t n_reasons;
        unsigned n_guests;      /* VMs known */
        unsigned n_building;    /* of them: in their build, or may be */
        unsigned n_ignored;     /* reasons that are ignored on request */
        GuestVerdict *guests;   /* n_guests of them, in the order of HostActivity */
        uint64_t youngest;      /* usec: how long the youngest guest that must be looked at again has been alive; UINT64_MAX: none */
} ActivityVerdict;

/*
 * Idle only by proof (T0), by the probes (T1), or if every single VM alive shows that it ran (T2). Never by
 * counting: one TD in its build and one plain VM running must not look like one TD running.
 */
void activity_judge(const HostActivity *host, ActivityVerdict *ret);

void activity_verdict_clear(ActivityVerdict *verdict);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ActivityVerdict, activity_verdict_clear)

/* After this many usec the guests that may be building are looked at again (while a job waits for them). */
uint64_t activity_poll_interval(uint64_t age);
#define ACTIVITY_POLL_MIN ((uint64_t) 5000)     /* the shortest, usec */

/* Are these signs that it ran? */
bool guest_signs_ran(GuestSigns signs);

const char *tier_to_string(Tier tier);                  /* "T0".."T3", "none" */
const char *guest_phase_to_string(GuestPhase phase);
const char *guest_td_to_string(GuestTd td);
