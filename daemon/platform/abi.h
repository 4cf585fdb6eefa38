/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors */
#pragma once

/*
 * The kernel's files, relative to their roots. Linux 7.2 and 7.3:
 * drivers/virt/coco/tdx-host/tdx-host.c, drivers/base/firmware_loader/sysfs.c and
 * sysfs_upload.c, kernel/cgroup/misc.c, virt/kvm/kvm_main.c.
 */

/* below /sys */
#define ABI_TDX_HOST            "devices/faux/tdx_host"
#define ABI_VERSION             ABI_TDX_HOST "/version"
#define ABI_SEAMLDR_VERSION     ABI_TDX_HOST "/seamldr_version"
#define ABI_REMAINING_UPDATES   ABI_TDX_HOST "/num_remaining_updates"
#define ABI_UPLOAD              "class/firmware/tdx_module"
#define ABI_LOADING             ABI_UPLOAD "/loading"
#define ABI_DATA                ABI_UPLOAD "/data"
#define ABI_STATUS              ABI_UPLOAD "/status"
#define ABI_ERROR               ABI_UPLOAD "/error"
#define ABI_REMAINING_SIZE      ABI_UPLOAD "/remaining_size"
#define ABI_CPUS_PRESENT        "devices/system/cpu/present"
#define ABI_CPUS_ONLINE         "devices/system/cpu/online"
#define ABI_KVM_INTEL_TDX       "module/kvm_intel/parameters/tdx"
#define ABI_MODULES             "module"
#define ABI_KVM                 ABI_MODULES "/kvm"
#define ABI_KVM_INTEL           ABI_MODULES "/kvm_intel"
#define ABI_MISC_DEVICES        "devices/virtual/misc"
#define ABI_KVM_DEVICE          ABI_MISC_DEVICES "/kvm"

/* below /proc */
#define ABI_CPUINFO             "cpuinfo"
#define ABI_BOOT_ID             "sys/kernel/random/boot_id"

/* below /sys/kernel/debug; in it a folder for each VM, "TID-FD" */
#define ABI_DEBUGFS_KVM         "kvm"
#define ABI_GUEST_EXITS         "exits"
#define ABI_GUEST_VCPU          "vcpu"                  /* and a number; in it: */
#define ABI_GUEST_VCPU_PID      "pid"

/* /proc/PID/fd: the text of a link to a VM */
#define ABI_KVM_VM_LINK         "anon_inode:kvm-vm"

/* the first string of the kernel's event */
#define ABI_UEVENT_KVM          "change@/" ABI_KVM_DEVICE

/* below /sys/fs/cgroup */
#define ABI_MISC_CURRENT        "misc.current"
#define ABI_MISC_EVENTS         "misc.events"
#define ABI_MISC_MAX            "misc.max"              /* not in the root */
#define ABI_MISC_EVENTS_LOCAL   "misc.events.local"     /* not in the root */

/* words */
#define ABI_LOADING_START       "1"
#define ABI_LOADING_HANDOVER    "0"
#define ABI_LOADING_ABORT       "-1"
#define ABI_STATUS_IDLE         "idle"
#define ABI_BUG_SEAMRET         "seamret_invd_vmcs"
#define ABI_FLAG_TDX_HOST       "tdx_host_platform"
