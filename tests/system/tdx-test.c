// SPDX-License-Identifier: GPL-2.0-only
// SPDX-FileCopyrightText: The tdx-updated authors
/*
 * The kernel's SEAM call wrappers without TDX: functions with the names and arguments of those in
 * arch/x86/virt/vmx/tdx/tdx.c, for the probes to be attached to, and a device by which a process plays the VMM that
 * builds TDs. What they return is what the writer asks for; they do nothing else.
 *
 * One command a write() to /dev/tdx-test:
 *   begin NAME [fail] [wait]      tdh_mng_init(); fail: it returns TDX_OPERAND_INVALID, and the TD stays as it is
 *   finalize NAME [busy] [wait]   tdh_mr_finalize(); busy: it returns TDX_OPERAND_BUSY (the write fails with EBUSY)
 *   free NAME                     tdh_mng_key_freeid(), and the struct tdx_td is freed
 *   drop NAME                     the struct tdx_td is freed, as after a TDH.MNG.VPFLUSHDONE that fails
 *   leak NAME                     it is never freed, also when the file is closed
 *   go NAME                       ends the `wait` of a call: until then it stays inside of the function
 *
 * Closing the file ends its TDs with tdh_mng_key_freeid(), as KVM does when a VM goes away.
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#ifdef CONFIG_INTEL_TDX_HOST
#error "This kernel has the real functions; the probes would be attached to those"
#endif

/* arch/x86/include/asm/shared/tdx_errno.h */
#define TDX_SUCCESS             0ULL
#define TDX_OPERAND_INVALID     0xC000010000000000ULL
#define TDX_OPERAND_BUSY        0x8000020000000000ULL

#define NAME_SIZE               32
#define COMMAND_SIZE            96

/* The real one is KVM's, too: a part of its struct kvm_tdx, so that its address names the TD. */
struct tdx_td {
        struct list_head list;
        struct file *owner;
        char name[NAME_SIZE];
        u64 answer;
        bool wait;
        bool leaked;
        struct completion go;
};

static LIST_HEAD(tds);
static DEFINE_MUTEX(lock);

/* The three of the kernel. Real calls take from microseconds to milliseconds; `wait` makes them as long as a test wants. */
u64 tdh_mng_init(struct tdx_td *td, u64 td_params, u64 *extended_err);
u64 tdh_mr_finalize(struct tdx_td *td);
u64 tdh_mng_key_freeid(struct tdx_td *td);

static u64 seamcall(struct tdx_td *td)
{
        if (td->wait && wait_for_completion_interruptible(&td->go))
                return TDX_OPERAND_BUSY;
        return td->answer;
}

noinline u64 tdh_mng_init(struct tdx_td *td, u64 td_params, u64 *extended_err)
{
        *extended_err = 0;
        return seamcall(td);
}
EXPORT_SYMBOL_GPL(tdh_mng_init);

noinline u64 tdh_mr_finalize(struct tdx_td *td)
{
        return seamcall(td);
}
EXPORT_SYMBOL_GPL(tdh_mr_finalize);

noinline u64 tdh_mng_key_freeid(struct tdx_td *td)
{
        /* So that this one is no copy of the others, which the compiler may join. */
        barrier();
        return TDX_SUCCESS;
}
EXPORT_SYMBOL_GPL(tdh_mng_key_freeid);

static struct tdx_td *find(const char *name)
{
        struct tdx_td *td;

        lockdep_assert_held(&lock);
        list_for_each_entry(td, &tds, list)
                if (!strcmp(td->name, name))
                        return td;
        return NULL;
}

static int answer_to_errno(u64 answer)
{
        /* As KVM has it: busy can be tried again, anything else is final (arch/x86/kvm/vmx/tdx.c). */
        return answer == TDX_SUCCESS ? 0 : answer == TDX_OPERAND_BUSY ? -EBUSY : -EIO;
}

static int begin(struct file *file, const char *name, bool fail, bool wait)
{
        struct tdx_td *td;
        u64 error;

        mutex_lock(&lock);
        if (find(name)) {
                mutex_unlock(&lock);
                return -EEXIST;
        }
        td = kzalloc(sizeof(*td), GFP_KERNEL);
        if (!td) {
                mutex_unlock(&lock);
                return -ENOMEM;
        }
        strscpy(td->name, name);
        init_completion(&td->go);
        td->owner = file;
        td->answer = fail ? TDX_OPERAND_INVALID : TDX_SUCCESS;
        td->wait = wait;
        list_add_tail(&td->list, &tds);
        mutex_unlock(&lock);

        /* Not under the lock: real TDs are built at the same time. */
        return answer_to_errno(tdh_mng_init(td, 0, &error));
}

static int finalize(struct tdx_td *td, bool busy, bool wait)
{
        reinit_completion(&td->go);
        td->answer = busy ? TDX_OPERAND_BUSY : TDX_SUCCESS;
        td->wait = wait;
        return answer_to_errno(tdh_mr_finalize(td));
}

static void end(struct tdx_td *td, bool quietly)
{
        if (!quietly)
                tdh_mng_key_freeid(td);
        kfree(td);
}

static int act(struct file *file, const char *verb, const char *name, bool bad, bool wait)
{
        struct tdx_td *td;
        bool frees = !strcmp(verb, "free") || !strcmp(verb, "drop");

        if (!strcmp(verb, "begin"))
                return begin(file, name, bad, wait);

        mutex_lock(&lock);
        td = find(name);
        if (td && frees)
                list_del(&td->list);
        mutex_unlock(&lock);
        if (!td)
                return -ENOENT;

        if (frees)
                end(td, !strcmp(verb, "drop"));
        else if (!strcmp(verb, "finalize"))
                return finalize(td, bad, wait);
        else if (!strcmp(verb, "leak"))
                td->leaked = true;
        else if (!strcmp(verb, "go"))
                complete(&td->go);
        else
                return -EINVAL;
        return 0;
}

static ssize_t tdx_test_write(struct file *file, const char __user *buffer, size_t size, loff_t *offset)
{
        char command[COMMAND_SIZE], *rest = command, *verb, *name, *word;
        bool bad = false, wait = false;
        int r;

        if (size >= sizeof(command))
                return -EINVAL;
        if (copy_from_user(command, buffer, size))
                return -EFAULT;
        command[size] = '\0';
        strim(command);

        verb = strsep(&rest, " ");
        name = strsep(&rest, " ");
        if (!name || !*name || strlen(name) >= NAME_SIZE)
                return -EINVAL;
        while ((word = strsep(&rest, " "))) {
                if (!strcmp(word, "fail") || !strcmp(word, "busy"))
                        bad = true;
                else if (!strcmp(word, "wait"))
                        wait = true;
                else
                        return -EINVAL;
        }

        r = act(file, verb, name, bad, wait);
        return r ?: size;
}

static int tdx_test_release(struct inode *inode, struct file *file)
{
        struct tdx_td *td, *next;
        LIST_HEAD(gone);

        mutex_lock(&lock);
        list_for_each_entry_safe(td, next, &tds, list) {
                if (td->owner != file)
                        continue;
                if (td->leaked)
                        td->owner = NULL;
                else
                        list_move_tail(&td->list, &gone);
        }
        mutex_unlock(&lock);

        list_for_each_entry_safe(td, next, &gone, list)
                end(td, false);
        return 0;
}

static const struct file_operations tdx_test_operations = {
        .owner = THIS_MODULE,
        .write = tdx_test_write,
        .release = tdx_test_release,
};

static struct miscdevice tdx_test_device = {
        .minor = MISC_DYNAMIC_MINOR,
        .name = "tdx-test",
        .fops = &tdx_test_operations,
};

module_misc_device(tdx_test_device);

MODULE_DESCRIPTION("Plays the kernel's TDX SEAM call wrappers for tests");
MODULE_LICENSE("GPL v2");
