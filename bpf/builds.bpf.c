/* SPDX-License-Identifier: LGPL-2.1-or-later OR GPL-2.0-only
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * Which TDs are in their build, from the kernel's SEAM call wrappers in arch/x86/virt/vmx/tdx/tdx.c. They are exported
 * functions (so neither inlined nor renamed) whose first argument is the TD's struct tdx_td, which KVM keeps in its VM: the
 * pointer names the TD from KVM_TDX_INIT_VM until the VM is gone. KVM serialises the calls for one TD (kvm->lock and the
 * end of the VM), so only what different TDs share needs atomic operations.
 *
 * The licence is a choice, since the kernel gives some of its helpers only to programs under the GPL.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "builds-map.h"

const char LICENSE[] SEC("license") = "GPL";

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(map_flags, BPF_F_MMAPABLE);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct probe_counters);
} counters SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, PROBE_TDS_MAX);
        __type(key, __u64);
        __type(value, struct probe_td);
} tds SEC(".maps");

/* What a thread is calling, for the return, which does not know the arguments any more. */
struct call {
        __u64 td;
        __u64 function;
};

enum { CALL_INIT = 1, CALL_FINALIZE };

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, PROBE_CALLS_MAX);
        __type(key, __u64);
        __type(value, struct call);
} calls SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_RINGBUF);
        __uint(max_entries, PROBE_EVENTS_SIZE);
} events SEC(".maps");

static __always_inline struct probe_counters *get_counters(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&counters, &zero);
}

static __always_inline void add(__u64 *counter, __s64 value) {
        __sync_fetch_and_add(counter, value);
}

/* That the ring is full loses nothing: its reader then has enough to wake up for, and looks at the map. */
static __always_inline void tell(__u64 td, __u32 kind) {
        struct probe_event event = {
                .td = td,
                .when = bpf_ktime_get_boot_ns(),
                .tgid = bpf_get_current_pid_tgid() >> 32,
                .kind = kind,
        };

        bpf_ringbuf_output(&events, &event, sizeof(event), 0);
}

static __always_inline void remember_call(struct probe_counters *c, __u64 td, __u64 function) {
        __u64 thread = bpf_get_current_pid_tgid();
        struct call call = { td, function };

        /* Its end, or that it failed, will not be seen. */
        if (bpf_map_update_elem(&calls, &thread, &call, BPF_ANY) < 0)
                add(&c->lost, 1);
}

/* The TD, or 0: it was not seen to enter the function, since the probe of the entry was attached later. */
static __always_inline __u64 recall(__u64 function) {
        __u64 thread = bpf_get_current_pid_tgid(), td;
        struct call *call = bpf_map_lookup_elem(&calls, &thread);

        if (!call || call->function != function)
                return 0;
        td = call->td;
        bpf_map_delete_elem(&calls, &thread);
        return td;
}

/* Before the SEAM call, so that there is no moment in which a build runs and is not counted. */
SEC("kprobe.multi")
int on_init(struct pt_regs *ctx) {
        __u64 td = PT_REGS_PARM1(ctx);
        struct probe_counters *c = get_counters();
        struct probe_td value = {
                .began = bpf_ktime_get_boot_ns(),
                .tgid = bpf_get_current_pid_tgid() >> 32,
                .state = PROBE_BUILDING,
        };
        struct probe_td *old;
        int was_building;

        if (!c)
                return 0;
        bpf_get_current_comm(value.comm, sizeof(value.comm));

        add(&c->begun, 1);
        /* The memory of a TD whose end was not seen (a failed TDH.MNG.VPFLUSHDONE) is used again. */
        old = bpf_map_lookup_elem(&tds, &td);
        was_building = old && old->state == PROBE_BUILDING;
        if (bpf_map_update_elem(&tds, &td, &value, BPF_ANY) < 0)
                add(&c->lost, 1);
        else if (!was_building)
                add(&c->building, 1);
        add(&c->done, 1);

        remember_call(c, td, CALL_INIT);
        tell(td, PROBE_EVENT_BEGUN);
        return 0;
}

static __always_inline void forget(struct probe_counters *c, __u64 td, __u32 kind) {
        struct probe_td *value = bpf_map_lookup_elem(&tds, &td);
        int was_building;

        if (!value)
                return;
        was_building = value->state == PROBE_BUILDING;

        add(&c->begun, 1);
        if (bpf_map_delete_elem(&tds, &td) < 0)
                add(&c->lost, 1);
        else if (was_building)
                add(&c->building, -1);
        add(&c->done, 1);
        tell(td, kind);
}

/* KVM takes anything but 0 as a failure and tears the TD down (__tdx_td_init() in arch/x86/kvm/vmx/tdx.c). */
SEC("kretprobe.multi")
int on_init_return(struct pt_regs *ctx) {
        struct probe_counters *c = get_counters();
        __u64 td = recall(CALL_INIT);

        if (c && td != 0 && PT_REGS_RC(ctx) != 0)
                forget(c, td, PROBE_EVENT_UNDONE);
        return 0;
}

SEC("kprobe.multi")
int on_finalize(struct pt_regs *ctx) {
        struct probe_counters *c = get_counters();

        if (c)
                remember_call(c, PT_REGS_PARM1(ctx), CALL_FINALIZE);
        return 0;
}

/* One that fails, as with TDX_OPERAND_BUSY, leaves the build open: KVM lets the VMM try again. */
SEC("kretprobe.multi")
int on_finalize_return(struct pt_regs *ctx) {
        struct probe_counters *c = get_counters();
        __u64 td = recall(CALL_FINALIZE);
        struct probe_td *value;

        if (!c || td == 0 || PT_REGS_RC(ctx) != 0)
                return 0;
        value = bpf_map_lookup_elem(&tds, &td);
        /* One that is older than the probes. */
        if (!value || value->state != PROBE_BUILDING)
                return 0;

        add(&c->begun, 1);
        value->ended = bpf_ktime_get_boot_ns();
        value->state = PROBE_FINALIZED;
        add(&c->building, -1);
        add(&c->done, 1);
        tell(td, PROBE_EVENT_FINALIZED);
        return 0;
}

/* The TD can do nothing any more; it comes also after a build that failed or whose VMM died. */
SEC("kprobe.multi")
int on_freeid(struct pt_regs *ctx) {
        struct probe_counters *c = get_counters();

        if (c)
                forget(c, PT_REGS_PARM1(ctx), PROBE_EVENT_GONE);
        return 0;
}
