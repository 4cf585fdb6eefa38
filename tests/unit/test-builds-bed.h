/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>

#include "base/log.h"
#include "bpf/load.h"
#include "platform/builds.h"
#include "platform/probe-maps.h"

/*
 * The real programs, loaded by the real loader into the real kernel, but attached to these functions of the test (uprobes)
 * in the place of the kernel's: the first argument and the result are where those have them. Needs cmocka.h before it.
 *
 * @inside: what happens while the module is at work.
 */
uint64_t tdh_mng_init(const void *td, uint64_t result, void (*inside)(void *userdata), void *userdata);
uint64_t tdh_mr_finalize(const void *td, uint64_t result);
void tdh_mng_key_freeid(const void *td);

#define BUSY 0x8000020000000000ULL      /* TDX_OPERAND_BUSY */
#define INVALID 0xC000010000000000ULL   /* TDX_OPERAND_INVALID */

static inline void begin(const void *td) {
        assert_int_equal(tdh_mng_init(td, 0, NULL, NULL), 0);
}

/* A BPF file system of its own, where nobody else sees it. */
typedef struct Bed {
        char *mount, *pins;
        bool no_td;             /* what the loader is told */
        const char *missing;    /* this function is not there */
        sd_event *event;
        Builds *builds;         /* NULL until bed_read() */
        ProbeFacts facts;
        unsigned changed;
} Bed;

extern Bed bed;

int bed_load(void);             /* probes_load() */
const ProbeFacts *bed_read(void);
const BuildFacts *bed_find(const void *td);     /* in what was read last; NULL: it is not there */
void bed_read_anew(void);       /* by a reader that has just been started */

int bed_setup(void **state);
int bed_teardown(void **state);

/* NULL, or why nothing of this can be done here. */
const char *bed_unusable(void);

/* @body in a process of its own, in which no assertion may be used. Is it true? */
void assert_in_child(bool (*body)(void));
