/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "sim/model-internal.h"

/* What the worker of the upload core, the driver, the P-SEAMLDR and the module do with an image. */

const char *progress_name(Progress progress) {
        static const char *const names[] = {
                [PROGRESS_IDLE] = "idle",
                [PROGRESS_RECEIVING] = "receiving",
                [PROGRESS_PREPARING] = "preparing",
                [PROGRESS_TRANSFERRING] = "transferring",
                [PROGRESS_PROGRAMMING] = "programming",
        };

        return names[progress];
}

void run_start(Model *m, uint64_t now) {
        const Knobs *k = &m->knobs;

        m->uploads++;
        m->run = (Run) {
                .number = m->uploads,
                .entered = now,
                .receive = k->receive_ms * USEC_PER_MSEC,
                .prepare = k->prepare_ms * USEC_PER_MSEC,
                .transfer = k->transfer_ms * USEC_PER_MSEC,
                .program = k->program_ms * USEC_PER_MSEC,
                .critical = MIN(k->critical_ms, k->transfer_ms) * USEC_PER_MSEC,
        };
        m->progress = PROGRESS_RECEIVING;
        m->remaining_size = m->data->len;
        g_clear_pointer(&m->error, g_free);
        model_note(m, now, "upload %u queued, %u bytes", m->run.number, m->data->len);
}

static void fail(Model *m, uint64_t when, const char *status, const char *word, const char *detail) {
        g_free(m->error);
        m->error = g_strdup_printf("%s:%s", status, word);
        model_note(m, when, "upload %u %s, %s", m->run.number, m->error, detail);
}

static bool consume(uint32_t *counter) {
        if (*counter == 0)
                return false;
        (*counter)--;
        return true;
}

/* Why the P-SEAMLDR or the new module will refuse, now that the old one is gone; NULL: they do not. */
static const char *fatal_reason(const Model *m, const SimImage *image) {
        const Knobs *k = &m->knobs;
        bool cpu_listed = false;

        /* Every CPU table entry stands for all steppings. */
        for (size_t i = 0; i < image->n_cpus; i++)
                if ((image->cpus[i] & ~0xfU) == (k->cpu & ~0xfU))
                        cpu_listed = true;

        if (!image->hash_ok)
                return "the SEAM hash is not that of the module";
        if (k->signer_check && !image->signature_ok)
                return "the signature does not verify";
        if (!image->known)
                return "no release tree has this image";
        if (!cpu_listed)
                return "the CPU is not in the image's table";
        if (k->remaining == 0)
                return "no updates remain";
        if (!cpu_set_equal(&k->present, &k->online))
                return "a CPU is offline";
        /* The old module's handoff data is of no use to another line or an older module. */
        if (!version_same_line(image->version, k->module))
                return "another major.minor than the running module";
        if (version_compare(image->version, k->module) < 0)
                return "older than the running module";

        return NULL;
}

/* Before anything is harmed. True: it ended here. */
static bool ends_harmlessly(Model *m, const SimImage *image, uint64_t when) {
        Knobs *k = &m->knobs;
        const char *status = "transferring";
        const Td *building = model_building_td(m);

        if (image->refused) {
                fail(m, when, status, "firmware-invalid", image->refused);
                return true;
        }
        if (k->lost) {
                fail(m, when, status, "firmware-invalid", "there is no module to shut down");
                return true;
        }
        if (consume(&k->busy)) {
                fail(m, when, status, "device-busy", "as asked");
                return true;
        }
        if (consume(&k->refuse)) {
                fail(m, when, status, "firmware-invalid", "shutdown refused as asked");
                return true;
        }
        if (*k->error) {
                fail(m, when, k->error_status, k->error, "as asked");
                /* All was written when the last phase failed. */
                if (strcmp(k->error_status, progress_name(PROGRESS_PROGRAMMING)) == 0)
                        m->remaining_size = 0;
                memset(k->error, 0, sizeof(k->error));
                return true;
        }
        if (k->world == WORLD_A && building) {
                g_autofree char *detail = g_strdup_printf("TD %s is being built", building->name);

                fail(m, when, status, "device-busy", detail);
                return true;
        }
        if (k->world == WORLD_B) {
                fail(m, when, status, "firmware-invalid", "the module cannot tell whether TDs are being built");
                return true;
        }
        return false;
}

static void shut_down(Model *m, uint64_t when) {
        SimImage image;
        Run *run = &m->run;

        m->ops.inspect(m->ops.userdata, m->data->data, m->data->len, &image);
        run->begun = true;
        if (ends_harmlessly(m, &image, when))
                return;

        run->critical_going = true;
        run->lose_text = consume(&m->knobs.lose) ? "as asked" : fatal_reason(m, &image);
        run->target = image.version;
        run->name = "success";
        if (!run->lose_text && m->knobs.have_mismatch) {
                run->target = m->knobs.mismatch;
                run->name = "mismatch";
                m->knobs.have_mismatch = false;
        }
        model_expose_builds(m);
}

static void install(Model *m, uint64_t when) {
        Run *run = &m->run;
        Version from = m->knobs.module;

        run->critical_going = false;
        if (run->lose_text) {
                m->knobs.lost = true;
                fail(m, when, "transferring", "firmware-invalid", run->lose_text);
                model_note(m, when, "module %s lost", VERSION_STRING(from));
                model_kill_tds(m, when);
                return;
        }

        m->knobs.module = run->target;
        if (m->knobs.remaining > 0)
                m->knobs.remaining--;
        m->installs++;
        model_note(m, when, "upload %u %s, %s -> %s", run->number, run->name,
                   VERSION_STRING(from), VERSION_STRING(run->target));
        model_replace_module(m, when);
}

static void end(Model *m) {
        g_byte_array_set_size(m->data, 0);
        m->loader = LOADER_INIT;
        m->progress = PROGRESS_IDLE;
}

/* One step that is due at @now; false: none is. */
static bool step(Model *m, uint64_t now) {
        Run *run = &m->run;
        uint64_t due;

        switch (m->progress) {
        case PROGRESS_RECEIVING:
                due = run->entered + run->receive;
                break;
        case PROGRESS_PREPARING:
                due = run->entered + run->prepare;
                break;
        case PROGRESS_TRANSFERRING:
                if (!run->begun) {
                        if (m->knobs.stuck)
                                return false;
                        shut_down(m, run->entered);
                        return true;
                }
                due = run->entered + (run->critical_going ? run->critical : run->transfer);
                break;
        case PROGRESS_PROGRAMMING:
                due = run->entered + run->program;
                break;
        default:
                return false;
        }
        if (now < due)
                return false;

        if (run->critical_going) {
                install(m, due);
                return true;
        }

        run->entered = due;
        if (m->progress == PROGRESS_PROGRAMMING || m->error)
                end(m);
        else {
                m->progress++;
                if (m->progress == PROGRESS_PROGRAMMING)
                        m->remaining_size = 0;
        }
        return true;
}

void run_advance(Model *m, uint64_t now) {
        while (step(m, now))
                ;
}
