/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#include <string.h>
#include <sys/stat.h>

#include "sim/cgroup.h"
#include "sim/tree.h"

#define HOST "/sys/devices/faux/tdx_host"
#define UPLOAD HOST "/firmware/tdx_module"
#define CPU "/sys/devices/system/cpu"

struct Tree {
        GHashTable *nodes;      /* path -> Node */
        unsigned generation;
};

static void node_free(Node *node) {
        g_free(node->path);
        g_free(node->cgroup);
        if (node->children)
                g_ptr_array_unref(node->children);
        g_free(node);
}

Tree *tree_new(void) {
        Tree *tree = g_new0(Tree, 1);

        tree->nodes = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify) node_free);
        return tree;
}

Tree *tree_free(Tree *tree) {
        if (!tree)
                return NULL;

        g_hash_table_unref(tree->nodes);
        g_free(tree);
        return NULL;
}

/* FNV-1a. The same path has the same number, unless it is mixed with something else. */
static uint64_t number_of(const char *path, uint64_t mix) {
        uint64_t hash = 0xcbf29ce484222325 ^ mix;

        for (const char *p = path; *p; p++)
                hash = (hash ^ (uint8_t) *p) * 0x100000001b3;
        return MAX(hash, 1);
}

/* Adds a node and the folders above it. */
static Node *add(Tree *tree, const char *path, mode_t mode, NodeId id) {
        g_autofree char *parent_path = NULL;
        Node *node, *parent;

        node = g_hash_table_lookup(tree->nodes, path);
        if (node)
                return node;

        node = g_new0(Node, 1);
        node->path = g_strdup(path);
        node->mode = mode;
        node->id = id;
        node->ino = number_of(path, 0);
        if (S_ISDIR(mode))
                node->children = g_ptr_array_new();
        g_hash_table_insert(tree->nodes, node->path, node);
        if (strcmp(path, "/") == 0)
                return node;

        parent_path = g_path_get_dirname(path);
        parent = add(tree, parent_path, S_IFDIR | 0755, NODE_DIR);
        g_ptr_array_add(parent->children, node);
        parent->n_folders += S_ISDIR(mode);
        return node;
}

static void add_link(Tree *tree, const char *path, const char *target) {
        add(tree, path, S_IFLNK | 0777, NODE_LINK)->target = target;
}

static void add_driver(Tree *tree, const Model *m) {
        add(tree, "/sys/class/firmware", S_IFDIR | 0755, NODE_DIR);
        add(tree, "/sys/devices/faux", S_IFDIR | 0755, NODE_DIR);
        if (!model_has_tdx_host(m))
                return;

        add(tree, HOST "/version", S_IFREG | 0444, NODE_VERSION);
        if (!model_has_upload(m))
                return;

        add(tree, HOST "/seamldr_version", S_IFREG | 0400, NODE_SEAMLDR_VERSION);
        add(tree, HOST "/num_remaining_updates", S_IFREG | 0400, NODE_REMAINING_UPDATES);
        add(tree, UPLOAD "/loading", S_IFREG | 0644, NODE_LOADING);
        add(tree, UPLOAD "/data", S_IFREG | 0644, NODE_DATA);
        add(tree, UPLOAD "/status", S_IFREG | 0444, NODE_STATUS);
        add(tree, UPLOAD "/error", S_IFREG | 0444, NODE_ERROR);
        add(tree, UPLOAD "/remaining_size", S_IFREG | 0444, NODE_REMAINING_SIZE);
        add(tree, UPLOAD "/cancel", S_IFREG | 0200, NODE_CANCEL);
        add_link(tree, UPLOAD "/device", "../../../tdx_host");
        add_link(tree, UPLOAD "/subsystem", "../../../../../class/firmware");
        add_link(tree, "/sys/class/firmware/tdx_module", "../../devices/faux/tdx_host/firmware/tdx_module");
}

static void add_cpus(Tree *tree, const Model *m) {
        const Knobs *k = model_knobs(m);

        add(tree, CPU "/present", S_IFREG | 0444, NODE_CPUS_PRESENT);
        add(tree, CPU "/online", S_IFREG | 0444, NODE_CPUS_ONLINE);
        for (unsigned i = 0; i < SIM_CPUS_MAX; i++) {
                g_autofree char *dir = NULL, *online = NULL;

                if (!cpu_set_has(&k->present, i))
                        continue;
                dir = g_strdup_printf(CPU "/cpu%u", i);
                add(tree, dir, S_IFDIR | 0755, NODE_DIR);
                /* x86 cannot take CPU 0 offline since 6.5: it has no such file. */
                if (i == 0)
                        continue;
                online = g_strdup_printf("%s/online", dir);
                add(tree, online, S_IFREG | 0644, NODE_CPU_ONLINE)->cpu = i;
        }
}

static Node *add_to_vm(Tree *tree, const Vm *vm, const char *path, mode_t mode, NodeId id) {
        Node *node = add(tree, path, mode, id);

        node->pid = vm->pid;
        node->fd = vm->fd;
        /* debugfs gives each a new number, and the time of its making. */
        node->ino = number_of(path, vm->serial);
        node->since = vm->since;
        return node;
}

static void add_vm(Tree *tree, const Vm *vm) {
        g_autofree char *dir = g_strdup_printf("/kvm/%u-%u", vm->tid, vm->fd);
        g_autofree char *exits = g_strdup_printf("%s/exits", dir);

        add_to_vm(tree, vm, dir, S_IFDIR | 0755, NODE_DIR);
        add_to_vm(tree, vm, exits, S_IFREG | 0644, NODE_VM_EXITS);

        for (unsigned i = 0; i < vm->n_vcpus; i++) {
                g_autofree char *vcpu = g_strdup_printf("%s/vcpu%u", dir, i), *pid = g_strdup_printf("%s/pid", vcpu);

                add_to_vm(tree, vm, vcpu, S_IFDIR | 0755, NODE_DIR);
                add_to_vm(tree, vm, pid, S_IFREG | 0444, NODE_VCPU_PID)->vcpu = i;
        }
}

/* What /proc has of a thread; the first one's is its process's. */
static void add_thread(Tree *tree, const char *dir, const Vm *vm, unsigned tid) {
        static const struct {
                const char *name;
                NodeId id;
        } files[] = {
                { "stat", NODE_PROC_STAT },
                { "status", NODE_PROC_STATUS },
                { "comm", NODE_PROC_COMM },
                { "cgroup", NODE_PROC_CGROUP },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
                g_autofree char *path = g_strdup_printf("%s/%s", dir, files[i].name);
                Node *node = add(tree, path, S_IFREG | 0444, files[i].id);

                node->pid = vm->pid;
                node->tid = tid;
        }
}

/* The VMM's process, the thread that made the VM, and the descriptor. */
static void add_process(Tree *tree, const Vm *vm) {
        g_autofree char *process = g_strdup_printf("/proc/%u", vm->pid), *thread = g_strdup_printf("/proc/%u", vm->tid);
        g_autofree char *task = g_strdup_printf("%s/task/%u", process, vm->tid), *first = g_strdup_printf("%s/task/%u", process, vm->pid);
        g_autofree char *fd = g_strdup_printf("%s/fd/%u", process, vm->fd);

        add_thread(tree, process, vm, vm->pid);
        add_thread(tree, first, vm, vm->pid);
        if (vm->tid != vm->pid) {
                add_thread(tree, thread, vm, vm->tid);
                add_thread(tree, task, vm, vm->tid);
                /* proc(5): threads can be visited, but are not listed. */
                ((Node *) g_hash_table_lookup(tree->nodes, thread))->hidden = true;
        }
        add_link(tree, fd, "anon_inode:kvm-vm");
}

static void add_kvm(Tree *tree, const Model *m) {
        const Knobs *k = model_knobs(m);
        const GPtrArray *vms = model_vms(m);

        add(tree, "/sys/module", S_IFDIR | 0755, NODE_DIR);
        if (!k->kvm)
                return;

        add(tree, "/sys/module/kvm", S_IFDIR | 0755, NODE_DIR);
        add(tree, "/sys/module/kvm_intel/parameters", S_IFDIR | 0755, NODE_DIR);
        if (k->kvm_intel_tdx != KVM_TDX_ABSENT)
                add(tree, "/sys/module/kvm_intel/parameters/tdx", S_IFREG | 0444, NODE_KVM_INTEL_TDX);

        /* debugfs itself is for root only. */
        add(tree, "/kvm", S_IFDIR | 0700, NODE_DIR);
        add(tree, "/kvm/exits", S_IFREG | 0644, NODE_KVM_EXITS);
        for (unsigned i = 0; i < vms->len; i++) {
                const Vm *vm = vms->pdata[i];

                add_vm(tree, vm);
                add_process(tree, vm);
        }
}

/* CFTYPE_ONLY_ON_ROOT and CFTYPE_NOT_ON_ROOT of misc_cg_files. */
static void add_cgroup(Tree *tree, const Cgroup *cgroup) {
        static const struct {
                const char *name;
                mode_t mode;
                NodeId id;
                bool on_root, below;
        } files[] = {
                { "misc.current", 0444, NODE_MISC_CURRENT, true, true },
                { "misc.capacity", 0444, NODE_MISC_CAPACITY, true, false },
                { "misc.max", 0644, NODE_MISC_MAX, false, true },
                { "misc.events", 0444, NODE_MISC_EVENTS, false, true },
                { "misc.events.local", 0444, NODE_MISC_EVENTS_LOCAL, false, true },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
                g_autofree char *path = g_strdup_printf("/cgroup%s%s/%s", cgroup->parent ? "/" : "", cgroup->path, files[i].name);

                if (cgroup->parent ? files[i].below : files[i].on_root)
                        add(tree, path, S_IFREG | files[i].mode, files[i].id)->cgroup = g_strdup(cgroup->path);
        }
}

/* Without the controller the groups are there, but their files are not. */
static void add_cgroups(Tree *tree, const Model *m) {
        const GPtrArray *cgroups = model_cgroups(m);

        for (unsigned i = 0; i < cgroups->len; i++) {
                const Cgroup *cgroup = cgroups->pdata[i];
                g_autofree char *path = g_strdup_printf("/cgroup%s%s", cgroup->parent ? "/" : "", cgroup->path);

                add(tree, path, S_IFDIR | 0755, NODE_DIR);
                if (model_knobs(m)->misc_tdx != MISC_TDX_ABSENT)
                        add_cgroup(tree, cgroup);
        }
}

static void build(Tree *tree, const Model *m) {
        g_hash_table_remove_all(tree->nodes);

        add(tree, "/", S_IFDIR | 0755, NODE_DIR);
        add_driver(tree, m);
        add_cpus(tree, m);
        add_kvm(tree, m);
        add(tree, "/proc/cpuinfo", S_IFREG | 0444, NODE_CPUINFO);
        add(tree, "/proc/sys/kernel/random/boot_id", S_IFREG | 0444, NODE_BOOT_ID);
        add_cgroups(tree, m);
        tree->generation = model_generation(m);
}

const Node *tree_lookup(Tree *tree, const Model *m, const char *path) {
        if (tree->generation != model_generation(m))
                build(tree, m);
        return g_hash_table_lookup(tree->nodes, path);
}
