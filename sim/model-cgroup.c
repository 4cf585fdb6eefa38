/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cgroup.h"
#include "sim/model-internal.h"

void cgroup_free(Cgroup *cgroup) {
        g_free(cgroup->path);
        g_free(cgroup);
}

static Cgroup *make(Model *m, const char *path, Cgroup *parent) {
        Cgroup *cgroup = g_new0(Cgroup, 1);

        cgroup->path = g_strdup(path);
        cgroup->parent = parent;
        cgroup->max = UINT64_MAX;
        g_ptr_array_add(m->cgroups, cgroup);
        m->generation++;
        return cgroup;
}

void cgroups_reset(Model *m) {
        g_ptr_array_set_size(m->cgroups, 0);
        (void) make(m, CGROUP_OF_VMS, make(m, "", NULL));
}

const GPtrArray *model_cgroups(const Model *m) {
        return m->cgroups;
}

Cgroup *model_cgroup_find(const Model *m, const char *path) {
        for (unsigned i = 0; i < m->cgroups->len; i++) {
                Cgroup *cgroup = m->cgroups->pdata[i];

                if (strcmp(cgroup->path, path) == 0)
                        return cgroup;
        }
        return NULL;
}

static bool path_is_good(const char *path) {
        g_auto(GStrv) names = g_strsplit(path, "/", -1);

        for (char **name = names; *name; name++)
                if (!**name || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0 || strpbrk(*name, " \n"))
                        return false;
        return *names != NULL;
}

int model_cgroup_add(Model *m, uint64_t now, const char *path, char **ret_text) {
        g_auto(GStrv) names = NULL;
        g_autoptr(GString) part = NULL;
        Cgroup *cgroup;

        model_advance(m, now);
        if (!path_is_good(path))
                return model_refuse(ret_text, EINVAL, "'%s' is no path below the cgroup root", path);
        if (model_cgroup_find(m, path))
                return model_refuse(ret_text, EEXIST, "there is a cgroup '%s' already", path);

        names = g_strsplit(path, "/", -1);
        part = g_string_new(NULL);
        cgroup = model_cgroup_find(m, "");
        for (char **name = names; *name; name++) {
                g_string_append_printf(part, "%s%s", part->len > 0 ? "/" : "", *name);
                cgroup = model_cgroup_find(m, part->str) ?: make(m, part->str, cgroup);
        }
        return 0;
}

/* rmdir(2) wants no cgroup and no process in it; here a TD stands for its VMM. */
static bool is_used(const Model *m, const Cgroup *cgroup) {
        for (unsigned i = 0; i < m->cgroups->len; i++)
                if (((const Cgroup *) m->cgroups->pdata[i])->parent == cgroup)
                        return true;
        for (unsigned i = 0; i < m->tds->len; i++)
                if (((const Td *) m->tds->pdata[i])->cgroup == cgroup)
                        return true;
        return false;
}

int model_cgroup_remove(Model *m, uint64_t now, const char *path, char **ret_text) {
        Cgroup *cgroup;

        model_advance(m, now);
        cgroup = *path ? model_cgroup_find(m, path) : NULL;
        if (!cgroup)
                return model_refuse(ret_text, ENOENT, "there is no cgroup '%s'", path);
        if (is_used(m, cgroup))
                return model_refuse(ret_text, EBUSY, "cgroup '%s' is not empty", path);

        g_ptr_array_remove(m->cgroups, cgroup);
        m->generation++;
        return 0;
}

/* kvm_intel sets the capacity, if it uses TDX; a resource without one has no lines and takes no limits. */
bool model_misc_has_tdx(const Model *m) {
        return m->knobs.misc_tdx >= 0 || (m->knobs.kvm && m->knobs.kvm_intel_tdx == KVM_TDX_YES);
}

/* kstrtou64(text, 0): the base by its prefix, a plus sign, nothing after it. */
static int parse_limit(const char *text, uint64_t *ret) {
        const char *digits = text + (*text == '+');
        char *end;

        if (!g_ascii_isdigit(*digits))
                return -EINVAL;
        errno = 0;
        *ret = g_ascii_strtoull(digits, &end, 0);
        if (errno == ERANGE)
                return -ERANGE;
        return *end || (*digits == '0' && strpbrk(digits, "xX") && end == digits + 1) ? -EINVAL : 0;
}

/* misc_cg_max_write(). The other resources of an Intel host's kernel have no capacity: EINVAL, too. */
int model_misc_max_store(Model *m, Cgroup *cgroup, const char *text, size_t size) {
        g_autofree char *line = g_strstrip(g_strndup(text, size));
        uint64_t max = UINT64_MAX;
        int r = 0;

        if (!g_str_has_prefix(line, "tdx "))
                return -EINVAL;
        if (strcmp(line + 4, "max") != 0)
                r = parse_limit(line + 4, &max);
        if (r < 0)
                return r;
        if (!model_misc_has_tdx(m))
                return -EINVAL;

        cgroup->max = max;
        return 0;
}

/* Up to the root; the first whose limit would be exceeded refuses, and is told so with those above it. */
int cgroup_charge(Model *m, Cgroup *cgroup, const Cgroup **ret_full) {
        for (Cgroup *c = cgroup; c; c = c->parent) {
                if (++c->usage <= c->max && c->usage <= m->knobs.misc_capacity)
                        continue;

                c->events_local++;
                for (Cgroup *above = c; above->parent; above = above->parent)
                        above->events++;
                for (Cgroup *taken = cgroup; taken != c->parent; taken = taken->parent)
                        taken->usage--;
                *ret_full = c;
                return -EBUSY;
        }
        return 0;
}

void cgroup_uncharge(Cgroup *cgroup) {
        for (Cgroup *c = cgroup; c; c = c->parent)
                c->usage--;
}
