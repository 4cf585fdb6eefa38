/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <json-glib/json-glib.h>

#include "base/fileio.h"
#include "base/limit.h"
#include "base/util.h"
#include "catalogue/mapping.h"

#define RELEASES "tdx_module_releases"
#define MAX_DEPTH 16U                   /* Intel's has 4; the parser recurses */
#define MAX_SEAMLDR 64U
#define AGAIN "; get the file from Intel again"

struct MappingFile {
        JsonNode *root;                 /* owns what is kept but not understood */
        GArray *entries;                /* of Mapping */
};

static void clear_mapping(void *p) {
        Mapping *mapping = p;

        g_free((void *) mapping->min_seamldr);
}

void mapping_file_free(MappingFile *file) {
        if (!file)
                return;

        g_clear_pointer(&file->root, json_node_unref);
        g_clear_pointer(&file->entries, g_array_unref);
        g_free(file);
}

size_t mapping_file_size(const MappingFile *file) {
        return file->entries->len;
}

const Mapping *mapping_file_find(const MappingFile *file, Version version) {
        for (size_t i = 0; i < file->entries->len; i++) {
                const Mapping *mapping = &g_array_index(file->entries, Mapping, i);

                if (version_compare(mapping->version, version) == 0)
                        return mapping;
        }

        return NULL;
}

/* Outside of strings. */
static bool json_character(char c) {
        return g_ascii_isalnum(c) || g_ascii_isspace(c) || (c && strchr("{}[],:+-.\"", c));
}

static bool parse_unicode(const char *text, size_t size, unsigned *ret) {
        *ret = 0;
        if (size < 6 || text[0] != '\\' || text[1] != 'u')
                return false;

        for (size_t i = 2; i < 6; i++) {
                if (!g_ascii_isxdigit(text[i]))
                        return false;
                *ret = *ret << 4 | (unsigned) g_ascii_xdigit_value(text[i]);
        }

        return *ret != 0;       /* it would end the string early */
}

/* The length of the escape sequence at @text; 0 when JSON has none like it. */
static size_t escape_length(const char *text, size_t size) {
        unsigned first, second;

        if (size < 2)
                return 0;
        if (text[1] && strchr("\"\\/bfnrt", text[1]))
                return 2;
        if (!parse_unicode(text, size, &first))
                return 0;
        if (first < 0xd800 || first > 0xdfff)
                return 6;

        return first <= 0xdbff && parse_unicode(text + 6, size - 6, &second) && second >= 0xdc00 && second <= 0xdfff ?
                12 : 0;
}

/* The length of the string at @text with its quotes; 0 when it is none. */
static size_t string_length(const char *text, size_t size) {
        for (size_t i = 1; i < size;) {
                size_t n = 1;

                if (text[i] == '"')
                        return i + 1;
                if (text[i] == '\\')
                        n = escape_length(text + i, size - i);
                if (n == 0 || (unsigned char) text[i] < 0x20)
                        return 0;
                i += n;
        }

        return 0;
}

/*
 * json-glib's parser calls itself for each bracket, knows comments and octal escapes, which JSON does not have,
 * and takes several values in a row. What gets that far has the characters and strings of JSON, few brackets
 * inside each other, and nothing before the first and behind the last one.
 */
static bool looks_like_json(const char *text, size_t size) {
        unsigned depth = 0;
        bool begun = false;

        for (size_t i = 0; i < size;) {
                char c = text[i];
                size_t n = 1;

                if (c == '[' || c == '{') {
                        if (++depth > MAX_DEPTH || (depth == 1 && begun))
                                return false;
                        begun = true;
                } else if (c == ']' || c == '}') {
                        if (depth-- == 0)
                                return false;
                } else if (!json_character(c) || (depth == 0 && !g_ascii_isspace(c)))
                        return false;
                else if (c == '"')
                        n = string_length(text + i, size - i);
                if (n == 0)
                        return false;
                i += n;
        }

        return depth == 0;
}

static const char *get_string(JsonObject *object, const char *name) {
        JsonNode *node = json_object_get_member(object, name);

        if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
                return NULL;

        return json_node_get_string(node);
}

static JsonArray *get_array(JsonObject *object, const char *name) {
        JsonNode *node = json_object_get_member(object, name);

        return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static char *parse_version(JsonObject *object, const char *name, Version *ret) {
        const char *text = get_string(object, name);

        if (!text)
                return g_strdup_printf("has no text \"%s\"", name);
        if (version_parse(text, ret) < 0)
                return g_strdup_printf("has a \"%s\" that is no version", name);

        return NULL;
}

static char *parse_features(JsonObject *object, uint64_t *ret) {
        const char *text = get_string(object, "tdx_feature0");
        uint64_t value = 0;
        size_t length;

        if (!text)
                return g_strdup("has no text \"tdx_feature0\"");

        length = strlen(text);
        if (length < 3 || length > 18 || text[0] != '0' || (text[1] != 'x' && text[1] != 'X'))
                return g_strdup("has a \"tdx_feature0\" that is no hexadecimal number of at most 64 bits");
        for (const char *p = text + 2; *p; p++) {
                if (!g_ascii_isxdigit(*p))
                        return g_strdup("has a \"tdx_feature0\" that is no hexadecimal number of at most 64 bits");
                value = value << 4 | (uint64_t) g_ascii_xdigit_value(*p);
        }

        *ret = value;
        return NULL;
}

static char *parse_seamldr(JsonObject *object, Mapping *mapping) {
        JsonArray *array = get_array(object, "min_seamldr_versions");
        g_autofree Version *versions = NULL;
        unsigned n;

        if (!array)
                return g_strdup("has no list \"min_seamldr_versions\"");

        n = json_array_get_length(array);
        if (n < 1 || n > MAX_SEAMLDR)
                return g_strdup_printf("lists %u P-SEAMLDR versions and must list 1 to %u", n, MAX_SEAMLDR);

        versions = g_new0(Version, n);
        for (unsigned i = 0; i < n; i++) {
                JsonNode *node = json_array_get_element(array, i);

                if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING ||
                    version_parse(json_node_get_string(node), &versions[i]) < 0)
                        return g_strdup("has something in \"min_seamldr_versions\" that is no version");
        }

        mapping->min_seamldr = g_steal_pointer(&versions);
        mapping->n_min_seamldr = n;
        return NULL;
}

/* NULL, or the second half of a sentence that begins with "release N". */
static char *parse_entry(JsonNode *node, Mapping *mapping) {
        JsonObject *object;
        char *text;

        if (!JSON_NODE_HOLDS_OBJECT(node))
                return g_strdup("is no object");

        object = json_node_get_object(node);
        text = parse_version(object, "version", &mapping->version);
        if (!text)
                text = parse_version(object, "min_module_version_for_td_preserving", &mapping->min_module);
        if (!text)
                text = parse_features(object, &mapping->features0);
        if (!text)
                text = parse_seamldr(object, mapping);
        return text;
}

static char *parse_entries(MappingFile *file) {
        JsonArray *array = NULL;
        unsigned n;

        if (JSON_NODE_HOLDS_OBJECT(file->root))
                array = get_array(json_node_get_object(file->root), RELEASES);
        if (!array)
                return g_strdup("it has no list \"" RELEASES "\"" AGAIN);

        n = json_array_get_length(array);
        if (n > LIMIT_MAPPING_ENTRIES)
                return g_strdup_printf("it lists %u releases, more than %u" AGAIN, n, LIMIT_MAPPING_ENTRIES);

        for (unsigned i = 0; i < n; i++) {
                g_autofree char *text = NULL;
                Mapping mapping = {};

                text = parse_entry(json_array_get_element(array, i), &mapping);
                if (text)
                        return g_strdup_printf("release %u in it %s" AGAIN, i + 1, text);
                if (mapping_file_find(file, mapping.version)) {
                        clear_mapping(&mapping);
                        return g_strdup_printf("it lists version %s twice; remove the wrong entry",
                                               VERSION_STRING(mapping.version));
                }
                g_array_append_val(file->entries, mapping);
        }

        return NULL;
}

int mapping_file_parse(const char *text, size_t size, MappingFile **ret, char **ret_text) {
        g_autoptr(MappingFile) file = NULL;
        g_autoptr(JsonParser) parser = NULL;
        g_autoptr(GError) error = NULL;
        char *problem;

        if (size > LIMIT_MAPPING_SIZE) {
                *ret_text = g_strdup_printf("it has more than %u bytes and was not read" AGAIN, LIMIT_MAPPING_SIZE);
                return -EBADMSG;
        }
        if (!looks_like_json(text, size)) {
                *ret_text = g_strdup("it is not JSON" AGAIN);
                return -EBADMSG;
        }

        parser = json_parser_new();
        if (!json_parser_load_from_data(parser, text, (gssize) size, &error)) {
                *ret_text = g_strdup_printf("it is not JSON (%s)" AGAIN, error->message);
                return -EBADMSG;
        }

        file = g_new0(MappingFile, 1);
        file->entries = g_array_new(false, false, sizeof(Mapping));
        g_array_set_clear_func(file->entries, clear_mapping);
        file->root = json_parser_steal_root(parser);
        problem = file->root ? parse_entries(file) : g_strdup("it is empty" AGAIN);
        if (problem) {
                *ret_text = problem;
                return -EBADMSG;
        }

        *ret = g_steal_pointer(&file);
        return 0;
}

int mapping_file_read(int fd, MappingFile **ret, char **ret_text) {
        g_autofree char *text = NULL;
        size_t done, size;
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode)) {
                *ret_text = g_strdup("it is no regular file; a mapping file is expected there");
                return -EBADMSG;
        }
        if (st.st_size > LIMIT_MAPPING_SIZE) {
                *ret_text = g_strdup_printf("it has %" G_GINT64_FORMAT " bytes, more than the %u that are read" AGAIN,
                                            (gint64) st.st_size, LIMIT_MAPPING_SIZE);
                return -EBADMSG;
        }

        size = (size_t) st.st_size;
        text = g_malloc(size + 1);
        r = read_from_start(fd, text, size, &done);
        if (r < 0)
                return r;
        text[done] = '\0';

        return mapping_file_parse(text, done, ret, ret_text);
}

static bool same_mapping(const Mapping *a, const Mapping *b) {
        if (version_compare(a->version, b->version) != 0 || version_compare(a->min_module, b->min_module) != 0 ||
            a->features0 != b->features0 || a->n_min_seamldr != b->n_min_seamldr)
                return false;

        for (size_t i = 0; i < a->n_min_seamldr; i++)
                if (version_compare(a->min_seamldr[i], b->min_seamldr[i]) != 0)
                        return false;

        return true;
}

int mapping_file_merge(MappingFile *file, const MappingFile *from, bool *ret_changed, char **ret_text) {
        JsonArray *to_array = get_array(json_node_get_object(file->root), RELEASES);
        JsonArray *from_array = get_array(json_node_get_object(from->root), RELEASES);
        size_t n_new = 0;

        for (size_t i = 0; i < from->entries->len; i++) {
                const Mapping *entry = &g_array_index(from->entries, Mapping, i);
                const Mapping *there = mapping_file_find(file, entry->version);

                if (!there)
                        n_new++;
                else if (!same_mapping(there, entry)) {
                        *ret_text = g_strdup_printf("the catalogue's mapping file has other values for version %s; "
                                                    "find out which of both is right, then change or remove the "
                                                    "catalogue's entry", VERSION_STRING(entry->version));
                        return -EEXIST;
                }
        }
        if (file->entries->len + n_new > LIMIT_MAPPING_ENTRIES) {
                *ret_text = g_strdup_printf("with it the catalogue's mapping file would list more than %u releases",
                                            LIMIT_MAPPING_ENTRIES);
                return -EBADMSG;
        }

        for (size_t i = 0; i < from->entries->len; i++) {
                Mapping entry = g_array_index(from->entries, Mapping, i);

                if (mapping_file_find(file, entry.version))
                        continue;
                entry.min_seamldr = g_memdup2(entry.min_seamldr, entry.n_min_seamldr * sizeof(Version));
                g_array_append_val(file->entries, entry);
                json_array_add_element(to_array, json_node_copy(json_array_get_element(from_array, (unsigned) i)));
        }

        *ret_changed = n_new > 0;
        return 0;
}

char *mapping_file_format(const MappingFile *file) {
        g_autoptr(JsonGenerator) generator = json_generator_new();
        g_autofree char *text = NULL;

        json_generator_set_pretty(generator, true);
        json_generator_set_indent_char(generator, '\t');
        json_generator_set_indent(generator, 1);
        json_generator_set_root(generator, file->root);
        text = json_generator_to_data(generator, NULL);
        return g_strconcat(text, "\n", NULL);
}
