/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <errno.h>
#include <inttypes.h>

#include "base/util.h"
#include "sim/cgroup.h"
#include "sim/content.h"

typedef struct CpuName {
        unsigned family;
        unsigned model;
        const char *name;
} CpuName;

static const CpuName cpu_names[] = {
        { 6, 0x8f, "Intel(R) Xeon(R) Platinum 8480+" },
        { 6, 0xcf, "INTEL(R) XEON(R) PLATINUM 8592+" },
        { 6, 0xaf, "Intel(R) Xeon(R) 6780E" },
        { 6, 0xad, "Intel(R) Xeon(R) 6980P" },
        { 6, 0xae, "Intel(R) Xeon(R) 6726P-B" },
};

static const char *cpu_name(unsigned family, unsigned model) {
        for (size_t i = 0; i < G_N_ELEMENTS(cpu_names); i++)
                if (cpu_names[i].family == family && cpu_names[i].model == model)
                        return cpu_names[i].name;
        return "Genuine Intel(R) CPU";
}

/* Parts of the signature as x86_family(), x86_model() and x86_stepping() of the kernel read them. */
static void show_cpu(const Knobs *k, unsigned cpu, unsigned siblings, GString *out) {
        unsigned family = k->cpu >> 8 & 0xf, model = k->cpu >> 4 & 0xf;

        if (family == 0xf)
                family += k->cpu >> 20 & 0xff;
        if (family >= 6)
                model += (k->cpu >> 16 & 0xf) << 4;

        g_string_append_printf(out,
                "processor\t: %u\n"
                "vendor_id\t: GenuineIntel\n"
                "cpu family\t: %u\n"
                "model\t\t: %u\n"
                "model name\t: %s\n"
                "stepping\t: %u\n"
                "microcode\t: 0x2b000643\n"
                "cpu MHz\t\t: 2000.000\n"
                "cache size\t: 107520 KB\n"
                "physical id\t: 0\n"
                "siblings\t: %u\n"
                "core id\t\t: %u\n"
                "cpu cores\t: %u\n"
                "apicid\t\t: %u\n"
                "initial apicid\t: %u\n"
                "fpu\t\t: yes\n"
                "fpu_exception\t: yes\n"
                "cpuid level\t: 32\n"
                "wp\t\t: yes\n",
                cpu, family, model, cpu_name(family, model), k->cpu & 0xf,
                siblings, cpu, siblings, 2 * cpu, 2 * cpu);
        g_string_append_printf(out,
                "flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
                "sse sse2 ss ht syscall nx pdpe1gb rdtscp lm constant_tsc nonstop_tsc cpuid pni pclmulqdq vmx ssse3 "
                "fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand lahf_lm ept vpid fsgsbase bmi1 avx2 "
                "bmi2 erms invpcid avx512f sha_ni%s arch_capabilities\n",
                k->cpu_tdx ? " tdx_host_platform" : "");
        g_string_append_printf(out,
                "vmx flags\t: vnmi preemption_timer posted_intr invvpid ept_x_only ept_ad flexpriority tsc_offset\n"
                "bugs\t\t: spectre_v1 spectre_v2 spec_store_bypass swapgs bhi spectre_v2_user%s\n"
                "bogomips\t: 4000.00\n"
                "clflush size\t: 64\n"
                "cache_alignment\t: 64\n"
                "address sizes\t: 46 bits physical, 57 bits virtual\n"
                "power management:\n\n",
                k->bug ? " seamret_invd_vmcs" : "");
}

static void show_cpuinfo(const Knobs *k, GString *out) {
        unsigned n = 0;

        for (unsigned i = 0; i < SIM_CPUS_MAX; i++)
                n += cpu_set_has(&k->online, i);
        for (unsigned i = 0; i < SIM_CPUS_MAX; i++)
                if (cpu_set_has(&k->online, i))
                        show_cpu(k, i, n, out);
}

static void show_cpus(const CpuSet *set, GString *out) {
        cpu_set_format(set, out);
        g_string_append_c(out, '\n');
}

static void show_max(const Cgroup *cgroup, GString *out) {
        if (cgroup->max == UINT64_MAX)
                g_string_append(out, "tdx max\n");
        else
                g_string_append_printf(out, "tdx %" PRIu64 "\n", cgroup->max);
}

/* kernel/cgroup/misc.c shows a line while there is a capacity, and what is not 0 after that. */
static int show_misc(const Model *m, const Node *node, GString *out) {
        const Cgroup *cgroup = model_cgroup_find(m, node->cgroup);
        const Knobs *k = model_knobs(m);
        bool has_tdx = model_misc_has_tdx(m);
        uint64_t value;

        if (!cgroup)
                return -ENODEV;
        if (node->id == NODE_MISC_MAX || node->id == NODE_MISC_CAPACITY) {
                if (has_tdx && node->id == NODE_MISC_MAX)
                        show_max(cgroup, out);
                else if (has_tdx)
                        g_string_append_printf(out, "tdx %u\n", k->misc_capacity);
                return 0;
        }

        if (node->id == NODE_MISC_CURRENT)
                value = k->misc_tdx >= 0 && !cgroup->parent ? (uint64_t) k->misc_tdx : cgroup->usage;
        else
                value = node->id == NODE_MISC_EVENTS ? cgroup->events : cgroup->events_local;
        if (has_tdx || value > 0)
                g_string_append_printf(out, "tdx%s %" PRIu64 "\n", node->id == NODE_MISC_CURRENT ? "" : ".max", value);
        return 0;
}

static int store_max(Model *m, const Node *node, const char *text, size_t size) {
        Cgroup *cgroup = model_cgroup_find(m, node->cgroup);

        return cgroup ? model_misc_max_store(m, cgroup, text, size) : -ENODEV;
}

static int show_vm(const Model *m, const Node *node, GString *out) {
        const Vm *vm = model_vm_find(m, node->pid, node->fd);

        if (!vm)
                return -ENODEV;
        if (node->id == NODE_VM_EXITS)
                g_string_append_printf(out, "%" PRIu64 "\n", vm->exits);
        else
                g_string_append_printf(out, "%u\n", vm->runs > 0 ? MAX(vm->pid, vm->tid) + 1 + node->vcpu : 0);
        return 0;
}

static void show_all_exits(const Model *m, GString *out) {
        const GPtrArray *vms = model_vms(m);
        uint64_t sum = 0;

        for (unsigned i = 0; i < vms->len; i++)
                sum += ((const Vm *) vms->pdata[i])->exits;
        g_string_append_printf(out, "%" PRIu64 "\n", sum);
}

static int show_version(const Model *m, GString *out) {
        Version v;
        int r;

        r = model_version(m, &v);
        if (r < 0)
                return r;
        g_string_append_printf(out, "%s\n", VERSION_STRING(v));
        return 0;
}

static const Vm *first_vm_of(const Model *m, unsigned pid) {
        const GPtrArray *vms = model_vms(m);

        for (unsigned i = 0; i < vms->len; i++) {
                const Vm *vm = vms->pdata[i];

                if (vm->pid == pid)
                        return vm;
        }
        return NULL;
}

#define TICKS_PER_SEC 100U

/* proc(5): comm is the second field, guest_time in clock ticks the 43rd, start time the 22nd. */
static void show_stat(const Model *m, const Vm *vm, unsigned tid, GString *out) {
        uint64_t start = vm->process_since / (USEC_PER_SEC / TICKS_PER_SEC), runs = model_process_runs(m, vm->pid);

        g_string_append_printf(out, "%u (qemu-system-x86) S 1 %u %u 0 -1 4194624 ", tid, vm->pid, vm->pid);
        g_string_append_printf(out, "0 0 0 0 %" PRIu64 " 0 0 0 20 0 %u 0 %" PRIu64 " ", runs, vm->n_vcpus + 1, start);
        g_string_append_printf(out, "0 0 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 %" PRIu64 " 0 "
                               "0 0 0 0 0 0 0 0\n", runs);
}

static void show_status(const Vm *vm, unsigned tid, GString *out) {
        g_string_append_printf(out, "Name:\tqemu-system-x86\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t%u\nNgid:\t0\n"
                               "Pid:\t%u\nPPid:\t1\n", vm->pid, tid);
}

static void show_cgroup(const Vm *vm, GString *out) {
        if (*vm->name)
                g_string_append_printf(out, "0::/machine.slice/machine-qemu\\x2d%u\\x2d%s.scope\n", vm->fd, vm->name);
        else
                g_string_append_printf(out, "0::/system.slice/vmm-%u.service\n", vm->pid);
}

/* The VMM's process, as far as it matters who it is and whether its guest has run. */
static int show_process(const Model *m, const Node *node, GString *out) {
        const Vm *vm = first_vm_of(m, node->pid);

        if (!vm)
                return -ESRCH;
        if (node->id == NODE_PROC_STAT)
                show_stat(m, vm, node->tid, out);
        else if (node->id == NODE_PROC_STATUS)
                show_status(vm, node->tid, out);
        else if (node->id == NODE_PROC_CGROUP)
                show_cgroup(vm, out);
        else
                g_string_append(out, "qemu-system-x86\n");
        return 0;
}

/* The upload node and the TDX host driver. */
static int show_driver(Model *m, const Node *node, GString *out) {
        const Knobs *k = model_knobs(m);

        switch (node->id) {
        case NODE_LOADING:
                g_string_append_printf(out, "%d\n", model_loading(m));
                return 0;
        case NODE_STATUS:
                g_string_append_printf(out, "%s\n", model_status(m));
                return 0;
        case NODE_ERROR:
                return model_error_show(m, out);
        case NODE_REMAINING_SIZE:
                g_string_append_printf(out, "%u\n", model_remaining_size(m));
                return 0;
        case NODE_VERSION:
                return show_version(m, out);
        case NODE_SEAMLDR_VERSION:
                model_count_hardware_read(m);
                g_string_append_printf(out, "%s\n", VERSION_STRING(k->seamldr));
                return 0;
        case NODE_REMAINING_UPDATES:
                model_count_hardware_read(m);
                g_string_append_printf(out, "%u\n", k->remaining);
                return 0;
        default:
                return -EIO;
        }
}

/* CPUs and the kernel. */
static int show_machine(const Model *m, const Node *node, GString *out) {
        const Knobs *k = model_knobs(m);

        switch (node->id) {
        case NODE_CPUS_PRESENT:
                show_cpus(&k->present, out);
                return 0;
        case NODE_CPUS_ONLINE:
                show_cpus(&k->online, out);
                return 0;
        case NODE_CPU_ONLINE:
                g_string_append_printf(out, "%d\n", cpu_set_has(&k->online, node->cpu));
                return 0;
        case NODE_CPUINFO:
                show_cpuinfo(k, out);
                return 0;
        case NODE_BOOT_ID:
                g_string_append_printf(out, "%s\n", k->boot_id);
                return 0;
        default:
                return -EIO;
        }
}

/* KVM, and what can be seen of its VMs. */
static int show_kvm(const Model *m, const Node *node, GString *out) {
        switch (node->id) {
        case NODE_KVM_INTEL_TDX:
                g_string_append(out, model_knobs(m)->kvm_intel_tdx == KVM_TDX_YES ? "Y\n" : "N\n");
                return 0;
        case NODE_MISC_CURRENT:
        case NODE_MISC_CAPACITY:
        case NODE_MISC_MAX:
        case NODE_MISC_EVENTS:
        case NODE_MISC_EVENTS_LOCAL:
                return show_misc(m, node, out);
        case NODE_KVM_EXITS:
                show_all_exits(m, out);
                return 0;
        case NODE_VM_EXITS:
        case NODE_VCPU_PID:
                return show_vm(m, node, out);
        case NODE_PROC_STAT:
        case NODE_PROC_STATUS:
        case NODE_PROC_COMM:
        case NODE_PROC_CGROUP:
                return show_process(m, node, out);
        default:
                return -EIO;
        }
}

int content_show(Model *m, const Node *node, GString *out) {
        if (node->id <= NODE_REMAINING_UPDATES)
                return show_driver(m, node, out);
        if (node->id <= NODE_BOOT_ID)
                return show_machine(m, node, out);
        return show_kvm(m, node, out);
}

int content_store(Model *m, uint64_t now, const Node *node, const char *text, size_t size) {
        switch (node->id) {
        case NODE_LOADING:
                return model_loading_store(m, now, text, size);
        case NODE_CANCEL:
                return model_cancel_store(m, now, text, size);
        case NODE_CPU_ONLINE:
                return model_cpu_online_store(m, now, node->cpu, text, size);
        case NODE_MISC_MAX:
                return store_max(m, node, text, size);
        default:
                return -EIO;
        }
}
