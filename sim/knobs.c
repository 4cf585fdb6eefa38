/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <fnmatch.h>
#include <stddef.h>
#include <string.h>

#include "base/fileio.h"
#include "sim/knobs.h"

/* One kind of value: how to read it, how to write it, what to say when it is bad. */
typedef struct Kind {
        int (*parse)(const char *text, void *field, size_t size);
        void (*format)(const void *field, GString *out);
        const char *wanted;
} Kind;

typedef struct Knob {
        const char *key;
        const Kind *kind;
        size_t offset;
        size_t size;
} Knob;

int errno_by_name(const char *name) {
        for (int e = 1; e < 134; e++) {
                const char *known = strerrorname_np(e);

                if (known && strcmp(known, name) == 0)
                        return e;
        }
        return 0;
}

static int parse_u32(const char *text, void *field, size_t size) {
        uint64_t value;

        if (parse_u64(text, &value) < 0 || value > INT32_MAX)
                return -EINVAL;
        *(uint32_t *) field = (uint32_t) value;
        return 0;
}

static void format_u32(const void *field, GString *out) {
        g_string_append_printf(out, "%u", *(const uint32_t *) field);
}

static int parse_signature(const char *text, void *field, size_t size) {
        uint64_t value;
        char *end;

        if (!g_ascii_isxdigit(*text))
                return -EINVAL;
        errno = 0;
        value = g_ascii_strtoull(text, &end, 16);
        if (errno != 0 || *end || value == 0 || value > UINT32_MAX)
                return -EINVAL;
        *(uint32_t *) field = (uint32_t) value;
        return 0;
}

static void format_signature(const void *field, GString *out) {
        g_string_append_printf(out, "0x%x", *(const uint32_t *) field);
}

static int parse_bool(const char *text, void *field, size_t size) {
        if (strcmp(text, "yes") == 0)
                *(bool *) field = true;
        else if (strcmp(text, "no") == 0)
                *(bool *) field = false;
        else
                return -EINVAL;
        return 0;
}

static void format_bool(const void *field, GString *out) {
        g_string_append(out, *(const bool *) field ? "yes" : "no");
}

static int parse_version(const char *text, void *field, size_t size) {
        return version_parse(text, field);
}

static void format_version(const void *field, GString *out) {
        g_string_append(out, VERSION_STRING(*(const Version *) field));
}

/* The running module: setting a version is a reboot into it. */
static int parse_module(const char *text, void *field, size_t size) {
        Knobs *k = (Knobs *) ((char *) field - offsetof(Knobs, module));

        k->lost = strcmp(text, "lost") == 0;
        return k->lost ? 0 : version_parse(text, &k->module);
}

static void format_module(const void *field, GString *out) {
        const Knobs *k = (const Knobs *) ((const char *) field - offsetof(Knobs, module));

        if (k->lost)
                g_string_append(out, "lost");
        else
                format_version(field, out);
}

static int parse_mismatch(const char *text, void *field, size_t size) {
        Knobs *k = (Knobs *) ((char *) field - offsetof(Knobs, mismatch));

        k->have_mismatch = *text != '\0';
        return k->have_mismatch ? version_parse(text, &k->mismatch) : 0;
}

static void format_mismatch(const void *field, GString *out) {
        const Knobs *k = (const Knobs *) ((const char *) field - offsetof(Knobs, mismatch));

        if (k->have_mismatch)
                format_version(field, out);
}

static int parse_cpus(const char *text, void *field, size_t size) {
        return cpu_set_parse(text, field);
}

static void format_cpus(const void *field, GString *out) {
        cpu_set_format(field, out);
}

static int parse_world(const char *text, void *field, size_t size) {
        if (strlen(text) != 1 || *text < 'A' || *text > 'C')
                return -EINVAL;
        *(World *) field = (World) (*text - 'A');
        return 0;
}

static void format_world(const void *field, GString *out) {
        g_string_append_c(out, (char) ('A' + *(const World *) field));
}

static int parse_word(const char *text, void *field, size_t size) {
        if (strlen(text) >= size)
                return -EINVAL;
        for (const char *p = text; *p; p++)
                if (!g_ascii_isgraph(*p))
                        return -EINVAL;
        memset(field, 0, size);
        memcpy(field, text, strlen(text));
        return 0;
}

static void format_word(const void *field, GString *out) {
        g_string_append(out, field);
}

static int parse_faults(const char *text, void *field, size_t size) {
        g_auto(GStrv) parts = g_strsplit(text, ",", 0);

        for (char **p = parts; *p; p++) {
                const char *colon = strrchr(*p, ':');

                if (!colon || colon == *p || errno_by_name(colon + 1) == 0)
                        return -EINVAL;
        }
        return parse_word(text, field, size);
}

static int parse_errno(const char *text, void *field, size_t size) {
        int e = errno_by_name(text);

        if (*text && e == 0)
                return -EINVAL;
        *(int *) field = e;
        return 0;
}

static void format_errno(const void *field, GString *out) {
        int e = *(const int *) field;

        if (e != 0)
                g_string_append(out, strerrorname_np(e));
}

static int parse_misc(const char *text, void *field, size_t size) {
        uint32_t value = 0;

        if (strcmp(text, "auto") == 0)
                *(int32_t *) field = MISC_TDX_AUTO;
        else if (strcmp(text, "absent") == 0)
                *(int32_t *) field = MISC_TDX_ABSENT;
        else if (parse_u32(text, &value, sizeof(value)) < 0)
                return -EINVAL;
        else
                *(int32_t *) field = (int32_t) value;
        return 0;
}

static void format_misc(const void *field, GString *out) {
        int32_t value = *(const int32_t *) field;

        if (value == MISC_TDX_AUTO)
                g_string_append(out, "auto");
        else if (value == MISC_TDX_ABSENT)
                g_string_append(out, "absent");
        else
                g_string_append_printf(out, "%d", value);
}

static int parse_uuid(const char *text, void *field, size_t size) {
        return g_uuid_string_is_valid(text) ? parse_word(text, field, size) : -EINVAL;
}

static const char *const kvm_tdx_words[] = {
        [KVM_TDX_YES] = "Y",
        [KVM_TDX_NO] = "N",
        [KVM_TDX_ABSENT] = "absent",
};

static int parse_kvm_tdx(const char *text, void *field, size_t size) {
        for (unsigned i = 0; i < G_N_ELEMENTS(kvm_tdx_words); i++)
                if (strcmp(text, kvm_tdx_words[i]) == 0) {
                        *(KvmTdx *) field = (KvmTdx) i;
                        return 0;
                }
        return -EINVAL;
}

static void format_kvm_tdx(const void *field, GString *out) {
        g_string_append(out, kvm_tdx_words[*(const KvmTdx *) field]);
}

static const Kind kind_u32 = { parse_u32, format_u32, "a number" };
static const Kind kind_bool = { parse_bool, format_bool, "yes or no" };
static const Kind kind_signature = { parse_signature, format_signature, "CPUID.1:EAX in hexadecimal" };
static const Kind kind_version = { parse_version, format_version, "a version (major.minor.update)" };
static const Kind kind_module = { parse_module, format_module, "a version (major.minor.update), or lost" };
static const Kind kind_mismatch = { parse_mismatch, format_mismatch, "a version (major.minor.update), or nothing" };
static const Kind kind_cpus = { parse_cpus, format_cpus, "a CPU list such as 0-3,8" };
static const Kind kind_world = { parse_world, format_world, "A, B or C" };
static const Kind kind_word = { parse_word, format_word, "a word" };
static const Kind kind_faults = { parse_faults, format_word, "PATH:ERRNO[,PATH:ERRNO...], or nothing" };
static const Kind kind_errno = { parse_errno, format_errno, "an errno's name such as EIO, or nothing" };
static const Kind kind_uuid = { parse_uuid, format_word, "a UUID" };
static const Kind kind_misc = { parse_misc, format_misc, "auto, absent or a number" };
static const Kind kind_kvm_tdx = { parse_kvm_tdx, format_kvm_tdx, "Y, N or absent" };

#define KNOB(key, kind, member) { key, &kind, offsetof(Knobs, member), sizeof(((Knobs *) NULL)->member) }

static const Knob knobs_table[] = {
        KNOB("module", kind_module, module),
        KNOB("seamldr", kind_version, seamldr),
        KNOB("remaining", kind_u32, remaining),
        KNOB("cpu", kind_signature, cpu),
        KNOB("cpus-present", kind_cpus, present),
        KNOB("cpus-online", kind_cpus, online),
        KNOB("world", kind_world, world),
        KNOB("busy", kind_u32, busy),
        KNOB("refuse", kind_u32, refuse),
        KNOB("lose", kind_u32, lose),
        KNOB("nothing", kind_u32, nothing),
        KNOB("error", kind_word, error),
        KNOB("error-status", kind_word, error_status),
        KNOB("mismatch", kind_mismatch, mismatch),
        KNOB("stuck", kind_bool, stuck),
        KNOB("sticky", kind_bool, sticky),
        KNOB("ebusy-zero", kind_u32, ebusy_zero),
        KNOB("zero-error", kind_errno, zero_error),
        KNOB("data-error", kind_errno, data_error),
        KNOB("read-error", kind_faults, read_error),
        KNOB("open-error", kind_faults, open_error),
        KNOB("read-delay-ms", kind_u32, read_delay_ms),
        KNOB("receive-ms", kind_u32, receive_ms),
        KNOB("prepare-ms", kind_u32, prepare_ms),
        KNOB("transfer-ms", kind_u32, transfer_ms),
        KNOB("program-ms", kind_u32, program_ms),
        KNOB("critical-ms", kind_u32, critical_ms),
        KNOB("uevents-queue", kind_u32, uevents_queue),
        KNOB("boot-id", kind_uuid, boot_id),
        KNOB("misc-tdx", kind_misc, misc_tdx),
        KNOB("misc-capacity", kind_u32, misc_capacity),
        KNOB("refund-refused", kind_bool, refund_refused),
        KNOB("kvm-intel-tdx", kind_kvm_tdx, kvm_intel_tdx),
        KNOB("kvm", kind_bool, kvm),
        KNOB("cpu-tdx", kind_bool, cpu_tdx),
        KNOB("tdx-host", kind_bool, tdx_host),
        KNOB("supported", kind_bool, supported),
        KNOB("bug", kind_bool, bug),
        KNOB("signer-check", kind_bool, signer_check),
};

void knobs_init(Knobs *knobs) {
        *knobs = (Knobs) {
                .module = { 1, 5, 5 },
                .seamldr = { 1, 5, 0 },
                .remaining = 9,
                .cpu = 0x806f8,
                .present.bits[0] = 0xf,
                .online.bits[0] = 0xf,
                .world = WORLD_C,
                .error_status = "transferring",
                .transfer_ms = 50,
                .critical_ms = 10,
                .uevents_queue = 100000,
                .boot_id = "00000000-0000-4000-8000-000000000000",
                .misc_tdx = MISC_TDX_AUTO,
                .misc_capacity = 31,
                .refund_refused = true,
                .kvm_intel_tdx = KVM_TDX_YES,
                .kvm = true,
                .cpu_tdx = true,
                .tdx_host = true,
                .supported = true,
                .signer_check = true,
        };
}

static const Knob *find(const char *key) {
        for (size_t i = 0; i < G_N_ELEMENTS(knobs_table); i++)
                if (strcmp(knobs_table[i].key, key) == 0)
                        return &knobs_table[i];
        return NULL;
}

int knobs_get(const Knobs *knobs, const char *key, GString *out) {
        const Knob *knob = find(key);

        if (!knob)
                return -ENOENT;
        knob->kind->format((const char *) knobs + knob->offset, out);
        return 0;
}

void knobs_get_all(const Knobs *knobs, GString *out) {
        for (size_t i = 0; i < G_N_ELEMENTS(knobs_table); i++) {
                g_string_append_printf(out, "%s=", knobs_table[i].key);
                knobs_table[i].kind->format((const char *) knobs + knobs_table[i].offset, out);
                g_string_append_c(out, '\n');
        }
}

int knobs_set(Knobs *knobs, const char *key, const char *value, char **ret_text) {
        const Knob *knob = find(key);

        if (!knob) {
                *ret_text = g_strdup_printf("unknown key '%s'", key);
                return -ENOENT;
        }
        if (knob->kind->parse(value, (char *) knobs + knob->offset, knob->size) < 0) {
                *ret_text = g_strdup_printf("bad value '%s' for %s: it wants %s", value, key, knob->kind->wanted);
                return -EINVAL;
        }
        return 0;
}

int knobs_check(const Knobs *knobs, char **ret_text) {
        for (unsigned i = 0; i < SIM_CPUS_MAX; i++)
                if (cpu_set_has(&knobs->online, i) && !cpu_set_has(&knobs->present, i)) {
                        *ret_text = g_strdup_printf("bad value for cpus-online: CPU %u is not present", i);
                        return -EINVAL;
                }

        if (!*knobs->error_status) {
                *ret_text = g_strdup("bad value for error-status: it wants a word");
                return -EINVAL;
        }
        return 0;
}

#define UPLOAD_PATH "sys/devices/faux/tdx_host/firmware/tdx_module"
#define UPLOAD_LINK "sys/class/firmware/tdx_module"

int fault_lookup(const char *faults, const char *path) {
        g_autofree char *link_path = NULL;
        g_auto(GStrv) parts = NULL;

        if (!*faults)
                return 0;

        /* FUSE is asked for the real path; people write the link's. */
        if (g_str_has_prefix(path, UPLOAD_PATH))
                link_path = g_strconcat(UPLOAD_LINK, path + strlen(UPLOAD_PATH), NULL);

        parts = g_strsplit(faults, ",", 0);
        for (char **p = parts; *p; p++) {
                char *colon = strrchr(*p, ':');

                *colon = '\0';
                if (fnmatch(*p, path, FNM_PATHNAME) == 0 ||
                    (link_path && fnmatch(*p, link_path, FNM_PATHNAME) == 0))
                        return errno_by_name(colon + 1);
        }
        return 0;
}
