/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>

#include "base/hex.h"
#include "base/limit.h"
#include "base/log.h"
#include "manager-internal.h"

/* The manager's side of the catalogue: when it is read, what is set aside, and what comes from outside. */

static CatalogueOptions catalogue_options(const Manager *m) {
        return (CatalogueOptions) {
                .directories = (const char *const *) m->config->catalogue_directories,
                .trust = { (const uint8_t (*)[SIGNER_SIZE]) m->config->signers, m->config->n_signers },
                .require_root = true,
        };
}

/* Which of these must not be tried again; an image may come back after it was set aside. */
static int load_aside(Manager *m, const Catalogue *catalogue) {
        for (size_t i = 0; i < catalogue_n_images(catalogue); i++) {
                g_autofree char *hash = manager_image_hash(catalogue_image(catalogue, i)),
                                *key = g_strconcat(STORE_KEY_ASIDE, hash, NULL), *why = NULL;
                int r;

                r = store_get(m->store, key, &why);
                if (r < 0)
                        return log_error(r, "Failed to read the database (%s)", store_error(m->store));
                if (why)
                        g_hash_table_replace(m->aside, g_steal_pointer(&hash), g_steal_pointer(&why));
        }

        return 0;
}

int manager_load_catalogue(Manager *m) {
        g_autoptr(Catalogue) catalogue = NULL;
        CatalogueOptions options = catalogue_options(m);
        char *stamp = catalogue_fingerprint(&options);
        int r;

        r = catalogue_load(&options, &catalogue);
        if (r < 0) {
                g_free(stamp);
                return log_error(r, "Failed to read the catalogue");
        }

        for (size_t i = 0; i < catalogue_n_problems(catalogue); i++)
                log_warning(0, "%s: %s", catalogue_problem(catalogue, i)->path, catalogue_problem(catalogue, i)->text);

        /* Before it is used: what was set aside must not be eligible even once. */
        r = load_aside(m, catalogue);
        if (r < 0) {
                g_free(stamp);
                return r;
        }

        catalogue_unref(m->catalogue);
        m->catalogue = g_steal_pointer(&catalogue);
        g_free(m->catalogue_stamp);
        m->catalogue_stamp = stamp;
        return 0;
}

/* The security version of what runs: from the image of that version, or from the table of known releases. */
void manager_update_svn(Manager *m) {
        const HostFacts *host = inventory_facts(m->inventory);
        const KnownRelease *known;
        Image *image;

        if (!host->have_running) {
                inventory_set_svn(m->inventory, false, 0);
                return;
        }

        image = catalogue_find(m->catalogue, host->running);
        known = known_release_by_version(host->running);
        if (image && image_facts(image)->verdict == IMAGE_OK)
                inventory_set_svn(m->inventory, true, image_facts(image)->svn);
        else
                inventory_set_svn(m->inventory, known != NULL, known ? known->svn : 0);
}

const Catalogue *manager_catalogue(Manager *m) {
        CatalogueOptions options = catalogue_options(m);
        g_autofree char *stamp = catalogue_fingerprint(&options);

        if (g_strcmp0(stamp, m->catalogue_stamp) != 0 && manager_load_catalogue(m) >= 0) {
                manager_update_svn(m);
                manager_tell(m, MANAGER_CHANGED_MODULE);
        }

        return m->catalogue;
}

Image *manager_find_image(Manager *m, const char *version) {
        Version v;

        return version_parse(version, &v) < 0 ? NULL : catalogue_find(m->catalogue, v);
}

char *manager_image_hash(const Image *image) {
        return hex_format(image_seam_hash(image), SEAM_HASH_SIZE);
}

void manager_image_facts(const Manager *m, const Image *image, ImageFacts *ret) {
        g_autofree char *hash = manager_image_hash(image);
        const char *why = g_hash_table_lookup(m->aside, hash);

        *ret = *image_facts(image);
        if (why && ret->verdict == IMAGE_OK) {
                ret->verdict = IMAGE_UNTRUSTED;
                ret->verdict_text = why;
        }
}

Policy manager_policy(const Manager *m) {
        return m->config->policy;
}

void manager_image_blockers(Manager *m, const Image *image, ImageFacts *ret_facts, BlockerList *ret) {
        Policy policy = manager_policy(m);
        g_auto(BlockerList) all = {};

        manager_image_facts(m, image, ret_facts);
        eligibility_evaluate(manager_host(m), ret_facts, &policy, &all);
        for (size_t i = 0; i < all.n; i++)
                if (all.items[i].severity != SEVERITY_WAIT)
                        blocker_list_add(ret, all.items[i].id, all.items[i].subject, "%s", all.items[i].text)->severity =
                                all.items[i].severity;
}

/*
 * The name that came with a descriptor: of the file, or the one that its owner gave a memfd. It is as good as the
 * file name that somebody could have chosen, and no more than a claim.
 */
static char *descriptor_name(int fd) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd), *target = g_file_read_link(link, NULL);
        const char *name = target;

        if (!target)
                return NULL;
        if (g_str_has_suffix(target, " (deleted)"))
                target[strlen(target) - strlen(" (deleted)")] = '\0';
        if (g_str_has_prefix(name, "/memfd:"))
                name += strlen("/memfd:");

        return g_path_get_basename(name);
}

int manager_inspect(Manager *m, int image_fd, Image **ret, Failure *failure) {
        CatalogueOptions options = catalogue_options(m);
        g_autofree char *name = descriptor_name(image_fd);
        int r;

        r = image_read(image_fd, name, NULL, &options.trust, ret);
        if (r < 0)
                return failure_set(failure, r == -EINVAL || r == -EISDIR || r == -ENXIO ? ERROR_IMAGE_INVALID : ERROR_IO,
                                   "The image cannot be read: %s",
                                   r == -EINVAL || r == -EISDIR || r == -ENXIO ? "it is no regular file" : g_strerror(-r));
        catalogue_attach_mapping(manager_catalogue(m), *ret);
        return 0;
}

int manager_import(Manager *m, int image_fd, int mapping_fd, const char *version, char **ret_version, Failure *failure) {
        g_autoptr(Image) image = NULL;
        g_autofree char *text = NULL;
        Version v;
        ImportRequest request = {
                .image_fd = image_fd,
                .mapping_fd = mapping_fd,
                .directory = m->import_directory,
                .require_root = true,
                .trust = catalogue_options(m).trust,
        };
        int r;

        if (version) {
                if (version_parse(version, &v) < 0)
                        return failure_set(failure, ERROR_INVALID_ARGS, "\"%.*s\" is no version; write it as 1.5.06",
                                           (int) LIMIT_VERSION_LENGTH, version);
                request.version = &v;
        }

        r = catalogue_import(&request, &image, &text);
        switch (r) {
        case 0:
                break;
        case -EBADMSG:
                return failure_set(failure, ERROR_IMAGE_INVALID, "The image cannot be added: %s", text);
        case -EKEYREJECTED:
                return failure_set(failure, ERROR_IMAGE_UNTRUSTED, "The image cannot be added: %s", text);
        case -EEXIST:
                return failure_set(failure, ERROR_INVALID_ARGS, "The image cannot be added: %s", text);
        case -EINVAL:
        case -EISDIR:
        case -ENXIO:
                return failure_set(failure, ERROR_IMAGE_INVALID, "The image or the mapping file is no regular file");
        default:
                return failure_set(failure, ERROR_IO, "The image could not be added: %s", g_strerror(-r));
        }

        *ret_version = g_strdup(VERSION_STRING(image_facts(image)->version));
        (void) manager_catalogue(m);
        dispatch_kick(m);
        return 0;
}
