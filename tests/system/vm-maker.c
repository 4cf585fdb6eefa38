/* SPDX-License-Identifier: LGPL-2.1-or-later
 * SPDX-FileCopyrightText: The tdx-updated authors
 *
 * A VMM of the tests: makes real VMs by KVM's ioctls, and "TDs" by the test module, as standard input says. Each line is
 * answered by one line, "ok ..." or "error TEXT". Its end ends them, as with any VMM.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define VMS_MAX 512
#define VCPUS_MAX 8
#define THREADS_MAX 64
#define TD_DEVICE "/dev/tdx-test"
#define GUEST_MEMORY 4096
#define GUEST_PORT 0x80

/* Real mode, at 0: out %al,$0x80; hlt. And, at 16: jmp to itself. */
static const unsigned char code_exits[] = { 0xe6, GUEST_PORT, 0xf4 };
static const unsigned char code_spins[] = { 0xeb, 0xfe };
#define CODE_EXITS 0
#define CODE_SPINS 16

typedef struct Vcpu {
        int fd;
        struct kvm_run *run;
} Vcpu;

typedef struct Vm {
        int fd;
        bool alive;
        void *memory;
        Vcpu vcpus[VCPUS_MAX];
        unsigned n_vcpus;
} Vm;

static int kvm_fd = -1, td_fd = -1;
static size_t run_size;
static Vm vms[VMS_MAX];
static struct kvm_run *spinning;

static int open_once(int *fd, const char *path) {
        if (*fd < 0)
                *fd = open(path, O_RDWR | O_CLOEXEC);
        return *fd < 0 ? -errno : 0;
}

static int vcpu_make(Vm *vm, unsigned number) {
        Vcpu *vcpu = vm->vcpus + number;
        struct kvm_sregs sregs;
        struct kvm_regs regs = { .rflags = 2 };

        vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, number);
        if (vcpu->fd < 0)
                return -errno;
        vcpu->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
        if (vcpu->run == MAP_FAILED)
                return -errno;

        if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
                return -errno;
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
                return -errno;
        return 0;
}

static void vm_end(Vm *vm) {
        for (unsigned i = 0; i < vm->n_vcpus; i++) {
                if (vm->vcpus[i].run && vm->vcpus[i].run != MAP_FAILED)
                        munmap(vm->vcpus[i].run, run_size);
                if (vm->vcpus[i].fd >= 0)
                        close(vm->vcpus[i].fd);
        }
        if (vm->fd >= 0)
                close(vm->fd);
        if (vm->memory && vm->memory != MAP_FAILED)
                munmap(vm->memory, GUEST_MEMORY);
        *vm = (Vm) { .fd = -1 };
}

static int vm_make(Vm *vm, unsigned n_vcpus) {
        struct kvm_userspace_memory_region region = { .memory_size = GUEST_MEMORY };
        int r;

        r = open_once(&kvm_fd, "/dev/kvm");
        if (r < 0)
                return r;
        r = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
        if (r < 0)
                return -errno;
        run_size = (size_t) r;

        *vm = (Vm) { .alive = true };
        vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
        if (vm->fd < 0)
                return -errno;
        vm->memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (vm->memory == MAP_FAILED)
                return -errno;
        memcpy((char *) vm->memory + CODE_EXITS, code_exits, sizeof(code_exits));
        memcpy((char *) vm->memory + CODE_SPINS, code_spins, sizeof(code_spins));
        region.userspace_addr = (unsigned long) vm->memory;
        if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                return -errno;

        for (; vm->n_vcpus < n_vcpus; vm->n_vcpus++) {
                r = vcpu_make(vm, vm->n_vcpus);
                if (r < 0)
                        return r;
        }
        return 0;
}

static double now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static int set_ip(Vcpu *vcpu, unsigned long ip) {
        struct kvm_regs regs = { .rflags = 2, .rip = ip };

        return ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0 ? -errno : 0;
}

/* Times on CLOCK_MONOTONIC: right before KVM_RUN, and when the first exit came to user space. */
static int vcpu_run(Vcpu *vcpu, double *ret_start, double *ret_exit) {
        int r;

        r = set_ip(vcpu, CODE_EXITS);
        if (r < 0)
                return r;
        *ret_start = now();
        if (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
                return -errno;
        *ret_exit = now();
        if (vcpu->run->exit_reason != KVM_EXIT_IO || vcpu->run->io.port != GUEST_PORT)
                return -EPROTO;
        if (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
                return -errno;
        return vcpu->run->exit_reason == KVM_EXIT_HLT ? 0 : -EPROTO;
}

/* KVM looks at immediate_exit after it has blocked signals, so none is missed between a look at the clock and the entry. */
static void on_alarm(int number) {
        spinning->immediate_exit = 1;
}

static int vcpu_spin(Vcpu *vcpu, unsigned ms) {
        struct itimerval timer = { .it_value = { ms / 1000, (ms % 1000) * 1000 } };
        int r;

        r = set_ip(vcpu, CODE_SPINS);
        if (r < 0)
                return r;
        spinning = vcpu->run;
        setitimer(ITIMER_REAL, &timer, NULL);
        r = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? -errno : -EPROTO;
        vcpu->run->immediate_exit = 0;
        return r == -EINTR ? 0 : r;
}

static int td_command(const char *command) {
        int r;

        r = open_once(&td_fd, TD_DEVICE);
        if (r < 0)
                return r;
        return write(td_fd, command, strlen(command)) < 0 ? -errno : 0;
}

/* The same command from many threads at once, each for a TD of its own. */
typedef struct Crowd {
        pthread_barrier_t start;
        const char *verb;
        atomic_int error;
} Crowd;

typedef struct Member {
        Crowd *crowd;
        unsigned number;
} Member;

static void *member(void *userdata) {
        Member *m = userdata;
        char command[64];
        int r;

        snprintf(command, sizeof(command), "%.20s crowd-%u", m->crowd->verb, m->number);
        pthread_barrier_wait(&m->crowd->start);
        r = td_command(command);
        if (r < 0)
                atomic_store(&m->crowd->error, r);
        return NULL;
}

static int crowd(const char *verb, unsigned n) {
        Crowd c = { .verb = verb };
        pthread_t threads[THREADS_MAX];
        Member members[THREADS_MAX];
        int r;

        r = open_once(&td_fd, TD_DEVICE);
        if (r < 0)
                return r;
        pthread_barrier_init(&c.start, NULL, n);
        for (unsigned i = 0; i < n; i++) {
                members[i] = (Member) { &c, i };
                r = pthread_create(threads + i, NULL, member, members + i);
                if (r != 0) {
                        /* The others wait for it at the barrier for ever. */
                        fprintf(stderr, "vm-maker: no thread: %s\n", strerror(r));
                        exit(EX_OSERR);
                }
        }
        for (unsigned i = 0; i < n; i++)
                pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&c.start);
        return atomic_load(&c.error);
}

typedef struct Making {
        Vm *vm;
        unsigned n_vcpus;
        int result;
} Making;

static void *make_in_thread(void *userdata) {
        Making *m = userdata;

        m->result = vm_make(m->vm, m->n_vcpus);
        return NULL;
}

/* By a thread that is gone afterwards: KVM's events and debugfs name the thread, not the process. */
static int vm_make_by_thread(Vm *vm, unsigned n_vcpus) {
        Making m = { vm, n_vcpus, 0 };
        pthread_t thread;
        int r;

        r = pthread_create(&thread, NULL, make_in_thread, &m);
        if (r != 0)
                return -r;
        pthread_join(thread, NULL);
        return m.result;
}

static int answer(int r) {
        if (r < 0)
                printf("error %s\n", strerror(-r));
        else
                puts("ok");
        return r;
}

static int do_vm(const char *verb, unsigned id, unsigned value) {
        Vm *vm = vms + id;
        double start = 0, first = 0;
        int r;

        if (strncmp(verb, "make", 4) == 0) {
                if (vm->alive || value > VCPUS_MAX)
                        return answer(-EINVAL);
                r = strcmp(verb, "make-by-thread") == 0 ? vm_make_by_thread(vm, value) : vm_make(vm, value);
                if (r < 0) {
                        vm_end(vm);
                        return answer(r);
                }
                return printf("ok %d\n", vm->fd);
        }
        if (!vm->alive)
                return answer(-ENOENT);

        if (strcmp(verb, "run") == 0 && value < vm->n_vcpus) {
                r = vcpu_run(vm->vcpus + value, &start, &first);
                return r < 0 ? answer(r) : printf("ok %.6f %.6f\n", start, first);
        }
        if (strcmp(verb, "spin") == 0 && vm->n_vcpus > 0)
                return answer(vcpu_spin(vm->vcpus, value));
        if (strcmp(verb, "end") == 0) {
                vm_end(vm);
                return answer(0);
        }
        return answer(-EINVAL);
}

static int serve(const char *line) {
        char verb[32];
        unsigned first, second = 0;

        if (strncmp(line, "td ", 3) == 0)
                return answer(td_command(line + 3));
        if (sscanf(line, "crowd %31s %u", verb, &first) == 2 && first > 0 && first <= THREADS_MAX)
                return answer(crowd(verb, first));
        if (sscanf(line, "%31s %u %u", verb, &first, &second) >= 2 && first < VMS_MAX)
                return do_vm(verb, first, second);
        return answer(-EINVAL);
}

static void help(void) {
        puts("vm-maker: makes VMs and TDs as standard input says\n\n"
             "  make N VCPUS            a VM, called N; answers with its descriptor\n"
             "  make-by-thread N VCPUS  the same, by a thread that ends then\n"
             "  run N VCPU              until it halts; answers with the times before KVM_RUN and at the first exit\n"
             "  spin N MS               vCPU 0 is busy in the guest for so long\n"
             "  end N                   the VM goes\n"
             "  td COMMAND...           to " TD_DEVICE "\n"
             "  crowd VERB N            `VERB crowd-0' to `VERB crowd-(N-1)' to " TD_DEVICE ", from N threads at once");
}

int main(int argc, char *argv[]) {
        struct sigaction action = { .sa_handler = on_alarm };
        char line[128];

        if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
                help();
                return EXIT_SUCCESS;
        }
        if (argc > 1) {
                fputs("vm-maker takes no arguments; see --help\n", stderr);
                return EX_USAGE;
        }

        sigaction(SIGALRM, &action, NULL);
        setvbuf(stdout, NULL, _IOLBF, 0);
        while (fgets(line, sizeof(line), stdin)) {
                line[strcspn(line, "\n")] = '\0';
                serve(line);
        }
        return EXIT_SUCCESS;
}
