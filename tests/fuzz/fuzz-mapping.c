/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <stdlib.h>
#include <string.h>

#include "catalogue/mapping.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autoptr(MappingFile) file = NULL, again = NULL;
        g_autofree char *bytes = g_malloc(size + 1), *problem = NULL, *text = NULL;
        bool changed = true;

        memcpy(bytes, data, size);
        bytes[size] = '\0';
        if (mapping_file_parse(bytes, size, &file, &problem) < 0) {
                if (!problem || file)
                        abort();
                return 0;
        }

        /* What was accepted survives being written: the same file, with nothing to merge. */
        text = mapping_file_format(file);
        if (mapping_file_parse(text, strlen(text), &again, &problem) < 0)
                abort();
        if (mapping_file_size(again) != mapping_file_size(file) ||
            mapping_file_merge(again, file, &changed, &problem) < 0 || changed)
                abort();
        return 0;
}
