/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

#include <glib.h>

#include "core/facts.h"

/*
 * Intel's mapping_file.json: which module may follow which, under which P-SEAMLDR. It is not signed; who may
 * write it decides, so it is taken as a whole or refused as a whole.
 */
#define MAPPING_NAME "mapping_file.json"

typedef struct MappingFile MappingFile;

/* 0, or -EBADMSG when *@ret_text, which the caller frees, says what is wrong and what to do. */
int mapping_file_parse(const char *text, size_t size, MappingFile **ret, char **ret_text);

/* The same for a regular file; its size is checked before it is read. Other -errno: accident. */
int mapping_file_read(int fd, MappingFile **ret, char **ret_text);

void mapping_file_free(MappingFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MappingFile, mapping_file_free)

size_t mapping_file_size(const MappingFile *file);
const Mapping *mapping_file_find(const MappingFile *file, Version version);     /* borrowed */

/*
 * Adds the entries of @from that @file does not have. -EEXIST with a text when both have a version
 * with different values; then @file is unchanged. *@ret_changed: whether anything was added.
 */
int mapping_file_merge(MappingFile *file, const MappingFile *from, bool *ret_changed, char **ret_text);

/* JSON text in the form of Intel's, with the notice and everything else that the file had. */
char *mapping_file_format(const MappingFile *file);
