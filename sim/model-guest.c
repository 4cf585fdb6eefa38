/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sim/cgroup.h"
#include "sim/model-internal.h"

/* TDs as the module sees them. Which VM they belong to a test says. */

void td_free(Td *td) {
        g_free(td->name);
        g_checksum_free(td->measured);
        g_checksum_free(td->expected);
        g_free(td);
}

static Td *find(const Model *m, const char *name) {
        for (unsigned i = 0; i < m->tds->len; i++) {
                Td *td = m->tds->pdata[i];

                if (strcmp(td->name, name) == 0)
                        return td;
        }
        return NULL;
}

Td *model_building_td(const Model *m) {
        for (unsigned i = 0; i < m->tds->len; i++) {
                Td *td = m->tds->pdata[i];

                if (td->phase == TD_BUILDING)
                        return td;
        }
        return NULL;
}

void model_expose_builds(Model *m) {
        for (unsigned i = 0; i < m->tds->len; i++) {
                Td *td = m->tds->pdata[i];

                td->exposed = td->phase == TD_BUILDING;
        }
}

static bool is_critical(const Model *m) {
        return m->run.critical_going && m->knobs.world == WORLD_C;
}

/* The running hash after this is not the one that the VMM and the tenant expect. */
static void spoil(Model *m, Td *td, uint64_t when) {
        g_autoptr(GChecksum) measured = NULL, expected = NULL;

        g_checksum_update(td->measured, (const uint8_t *) "another module's state", -1);
        measured = g_checksum_copy(td->measured);
        expected = g_checksum_copy(td->expected);
        if (td->corrupted || strcmp(g_checksum_get_string(measured), g_checksum_get_string(expected)) == 0)
                return;

        td->corrupted = true;
        m->corrupted++;
        model_note(m, when, "td corrupted %s %u", td->name, td->pid);
}

void model_replace_module(Model *m, uint64_t when) {
        for (unsigned i = 0; i < m->tds->len; i++) {
                Td *td = m->tds->pdata[i];

                if (td->exposed)
                        spoil(m, td, when);
                td->exposed = false;
        }
}

void model_kill_tds(Model *m, uint64_t when) {
        for (unsigned i = 0; i < m->tds->len; i++) {
                Td *td = m->tds->pdata[i];

                td->exposed = false;
                if (td->phase == TD_DEAD)
                        continue;
                td->phase = TD_DEAD;
                model_note(m, when, "td dead %s %u", td->name, td->pid);
        }
}

unsigned model_n_tds(const Model *m) {
        return m->tds->len;
}

/*
 * __tdx_td_init() charges the task's cgroup before it does anything in the module. When that is refused, Linux up to 7.3
 * goes to free_hkid all the same, which gives back the charge that was not taken: misc.current is one too low from then on.
 */
static int charge(Model *m, const TdBegin *begin, Cgroup *cgroup, char **ret_text) {
        const Cgroup *full;

        if (cgroup_charge(m, cgroup, &full) >= 0)
                return 0;

        m->refused_tds++;
        if (m->knobs.refund_refused)
                cgroup_uncharge(cgroup);
        model_note(m, m->now, "td refused %s %u", begin->name, begin->pid);
        return model_refuse(ret_text, EBUSY, "EBUSY: cgroup '%s' takes no more TDs", full->path);
}

static Cgroup *find_cgroup(const Model *m, const char *path) {
        if (path)
                return model_cgroup_find(m, path);
        return model_cgroup_find(m, CGROUP_OF_VMS) ?: model_cgroup_find(m, "");
}

int model_td_begin(Model *m, uint64_t now, const char *name, unsigned pid, char **ret_text) {
        return model_td_begin_in(m, now, &(TdBegin) { .name = name, .pid = pid }, ret_text);
}

int model_td_begin_in(Model *m, uint64_t now, const TdBegin *begin, char **ret_text) {
        const char *name = begin->name;
        Cgroup *cgroup = find_cgroup(m, begin->cgroup);
        Td *td;
        int r;

        model_advance(m, now);
        if (!cgroup)
                return model_refuse(ret_text, ENOENT, "there is no cgroup '%s'", begin->cgroup);
        if (!m->knobs.kvm || m->knobs.kvm_intel_tdx != KVM_TDX_YES || !m->knobs.cpu_tdx)
                return model_refuse(ret_text, EOPNOTSUPP, "KVM builds no TDs here");
        if (m->knobs.lost)
                return model_refuse(ret_text, ENXIO, "there is no TDX module");
        if (find(m, name))
                return model_refuse(ret_text, EEXIST, "there is a TD '%s' already", name);
        if (m->tds->len >= m->knobs.misc_capacity)
                return model_refuse(ret_text, ENOSPC, "no key id is left (misc-capacity)");
        r = charge(m, begin, cgroup, ret_text);
        if (r < 0)
                return r;

        td = g_new0(Td, 1);
        td->name = g_strdup(name);
        td->pid = begin->pid;
        td->cgroup = cgroup;
        td->measured = g_checksum_new(G_CHECKSUM_SHA384);
        td->expected = g_checksum_new(G_CHECKSUM_SHA384);
        td->exposed = is_critical(m);
        g_ptr_array_add(m->tds, td);
        model_note(m, now, "td begin %s %u", name, begin->pid);
        return 0;
}

static int find_building(Model *m, const char *name, Td **ret, char **ret_text) {
        Td *td = find(m, name);

        if (!td)
                return model_refuse(ret_text, ENOENT, "there is no TD '%s'", name);
        if (td->phase != TD_BUILDING)
                return model_refuse(ret_text, EINVAL, "TD '%s' is not in its build", name);
        *ret = td;
        return 0;
}

int model_td_add(Model *m, uint64_t now, const char *name, const char *data, char **ret_text) {
        Td *td;
        int r;

        model_advance(m, now);
        r = find_building(m, name, &td, ret_text);
        if (r < 0)
                return r;

        g_checksum_update(td->measured, (const uint8_t *) data, -1);
        g_checksum_update(td->expected, (const uint8_t *) data, -1);
        return 0;
}

int model_td_finalize(Model *m, uint64_t now, const char *name, char **ret_text) {
        Td *td;
        int r;

        model_advance(m, now);
        r = find_building(m, name, &td, ret_text);
        if (r < 0)
                return r;

        td->phase = TD_FINALIZED;
        model_note(m, now, "td finalize %s %u", td->name, td->pid);
        return 0;
}

int model_td_destroy(Model *m, uint64_t now, const char *name, char **ret_text) {
        Td *td;

        model_advance(m, now);
        td = find(m, name);
        if (!td)
                return model_refuse(ret_text, ENOENT, "there is no TD '%s'", name);

        model_note(m, now, "td destroy %s %u", td->name, td->pid);
        cgroup_uncharge(td->cgroup);
        g_ptr_array_remove(m->tds, td);
        return 0;
}

void model_td_list(const Model *m, GString *out) {
        static const char *const phases[] = {
                [TD_BUILDING] = "building",
                [TD_FINALIZED] = "finalized",
                [TD_DEAD] = "dead",
        };

        for (unsigned i = 0; i < m->tds->len; i++) {
                const Td *td = m->tds->pdata[i];

                g_string_append_printf(out, "%s %u %s %s\n", td->name, td->pid, phases[td->phase],
                                       td->corrupted ? "yes" : "no");
        }
}
