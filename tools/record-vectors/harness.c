/*
 * Executes single instructions on the processor under it, in user mode, and records what they did.
 *   harness IN OUT        (layout of both files: harness.ts)
 *
 * One signal round trip for each case. The instruction stands in a code area full of HLT; whatever stops the processor next raises
 * a signal: the instruction's own exception, or the #GP of the HLT behind it. By then the kernel has written the whole register state
 * to the alternate stack. The handler stores it and overwrites the same frame with the start state of the next case, so that returning
 * from the signal starts that case. TF is not used: flags are exact, PUSHF sees the truth, REP instructions run whole.
 *
 * The cases run in a child. The parent watches a shared counter; a case that hangs or kills the child is marked as lost, and a new
 * child goes on behind it. The handler uses no thread-local storage and restores the FS base before anything else.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <fcntl.h>
#include <immintrin.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE 0x10000000UL
#define CODE_SIZE 0x2000UL
#define DATA 0x20000000UL
#define DATA_SIZE 0x5000UL
/* The last page is read-only for the tested code. */
#define READ_ONLY 0x4000UL
#define HLT 0xf4

enum { LOST = 0xfe, COMPLETED = 0xff };
enum { MODE_64, MODE_32, MODE_16 };

typedef struct {
    uint64_t rip, rflags, gpr[16], fsbase, gsbase;
    uint32_t mxcsr;
    uint16_t fcw, fsw;
    uint8_t ftw, pad[7];
    uint8_t st[8][16], xmm[16][16];
} State;
typedef struct { uint8_t bytes[16], length, mode; uint16_t patches; uint32_t pad; State state; } Case;
typedef struct { uint8_t status, signal; uint16_t patches; uint32_t error; uint64_t cr2; State state; } Result;
/* Then `length` bytes, padded to a multiple of 8. */
typedef struct { uint32_t offset, length; } Patch;

typedef struct { volatile uint64_t index, in, out, done; } Shared;

static Shared *shared;
static uint8_t *input, *output;
static uint64_t cases;
static uint64_t saved_fs;
/* Writable views of code and data, the data as a case found it, and its background. */
static uint8_t *code, *data, before[DATA_SIZE], background[DATA_SIZE];
static uint64_t code_offset;
static int running;

static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static uint64_t padded(uint32_t length) { return (length + 7) & ~7U; }

static uint64_t behind(const Case *c) {
    uint64_t p = shared->in + sizeof(Case);
    for (int i = 0; i < c->patches; i++) p += sizeof(Patch) + padded(((Patch *)(input + p))->length);
    return p;
}

static void clean(void) {
    memcpy(data, background, DATA_SIZE);
    memset(code + code_offset, HLT, 16);
}

/* Rewrites the signal frame with the start state of the next case. */
static void load(ucontext_t *uc) {
    Case *c = (Case *)(input + shared->in);
    uint64_t p = shared->in + sizeof(Case);
    greg_t *g = uc->uc_mcontext.gregs;
    for (int i = 0; i < c->patches; i++) {
        Patch *m = (Patch *)(input + p);
        memcpy(data + m->offset, m + 1, m->length);
        p += sizeof(Patch) + padded(m->length);
    }
    memcpy(before, data, DATA_SIZE);
    uint16_t ds = c->mode == MODE_64 ? 0 : c->mode == MODE_32 ? 0x2b : 0x17;
    uint16_t cs = c->mode == MODE_64 ? 0x33 : c->mode == MODE_32 ? 0x23 : 0x0f;
    uint16_t ss = c->mode == MODE_16 ? 0x17 : 0x2b;
    code_offset = c->mode == MODE_16 ? c->state.rip : c->state.rip - CODE;
    for (int i = 0; i < c->length && code_offset + i < CODE_SIZE; i++) code[code_offset + i] = c->bytes[i];
    for (int i = 0; i < 16; i++) g[order[i]] = c->state.gpr[i];
    g[REG_RIP] = c->state.rip;
    g[REG_EFL] = c->state.rflags;
    g[REG_CSGSFS] = (uint64_t)cs | (uint64_t)ss << 48;
    uc->uc_flags |= 4; /* UC_STRICT_RESTORE_SS */
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%fs; mov %1, %%gs" ::"r"((uint32_t)ds), "r"(0));
    /* PKRU stays, x87 and SSE come from the frame, everything else is in its initial state. */
    uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t *xstate_bv = (uint64_t *)(fx + 512);
    *xstate_bv = (*xstate_bv & (1UL << 9)) | 3;
    memset(fx, 0, 24);
    memcpy(fx, &c->state.fcw, 2);
    memcpy(fx + 2, &c->state.fsw, 2);
    fx[4] = c->state.ftw;
    memcpy(fx + 24, &c->state.mxcsr, 4);
    int top = (c->state.fsw >> 11) & 7;
    for (int i = 0; i < 8; i++) {
        memset(fx + 32 + 16 * i, 0, 16);
        memcpy(fx + 32 + 16 * i, c->state.st[(top + i) & 7], 10);
    }
    memcpy(fx + 160, c->state.xmm, 256);
    running = 1;
    _writegsbase_u64(c->state.gsbase);
    _writefsbase_u64(c->state.fsbase);
}

/* Was it not the instruction, but the next fetch or the HLT behind it that stopped the processor? */
static int completed(const Case *c, uint64_t rip, int vector, uint64_t error, uint64_t cr2) {
    uint64_t base = c->mode == MODE_16 ? 0 : CODE;
    if (rip == c->state.rip) return 0;
    if (vector == 13 && error == 0 && rip - base < CODE_SIZE && code[rip - base] == HLT) return 1;
    if (vector != 14 || !(error & 0x10)) return 0;
    if (cr2 == rip + (c->mode == MODE_16 ? CODE : 0)) return 1; /* a branch to a page without code */
    return rip < base + CODE_SIZE && rip + 16 > base + CODE_SIZE;
}

/* Stretches of data that the case changed; gaps of up to 5 bytes are part of a stretch. */
static int changes(uint64_t p, uint64_t *end) {
    int n = 0;
    uint64_t i = 0;
    while (i < DATA_SIZE && n < 200) {
        if (data[i] == before[i]) {
            i++;
            continue;
        }
        uint64_t last = i;
        for (uint64_t k = i + 1; k < DATA_SIZE && k - last < 6; k++)
            if (data[k] != before[k]) last = k;
        Patch *m = (Patch *)(output + p);
        m->offset = i;
        m->length = last + 1 - i;
        memcpy(m + 1, data + i, m->length);
        p += sizeof(Patch) + padded(m->length);
        i = last + 1;
        n++;
    }
    *end = p;
    return n;
}

__attribute__((noinline)) static void store(int signal, ucontext_t *uc, uint64_t fsbase, uint64_t gsbase) {
    Case *c = (Case *)(input + shared->in);
    Result *r = (Result *)(output + shared->out);
    greg_t *g = uc->uc_mcontext.gregs;
    memset(r, 0, sizeof *r);
    int vector = g[REG_TRAPNO];
    r->signal = signal;
    r->status = vector;
    r->error = g[REG_ERR];
    if (vector == 14) r->cr2 = g[REG_CR2];
    if (completed(c, g[REG_RIP], vector, g[REG_ERR], g[REG_CR2])) {
        r->status = COMPLETED;
        r->error = 0;
        r->cr2 = 0;
    }
    r->state.rip = g[REG_RIP];
    r->state.rflags = g[REG_EFL] & ~0x10100UL; /* without RF and TF */
    for (int i = 0; i < 16; i++) r->state.gpr[i] = c->mode == MODE_64 ? (uint64_t)g[order[i]] : (uint32_t)g[order[i]];
    r->state.fsbase = fsbase;
    r->state.gsbase = gsbase;
    uint8_t *fx = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t xstate_bv = *(uint64_t *)(fx + 512);
    memcpy(&r->state.mxcsr, fx + 24, 4);
    if (xstate_bv & 1) {
        memcpy(&r->state.fcw, fx, 2);
        memcpy(&r->state.fsw, fx + 2, 2);
        r->state.ftw = fx[4];
        int top = (r->state.fsw >> 11) & 7;
        for (int i = 0; i < 8; i++) memcpy(r->state.st[(top + i) & 7], fx + 32 + 16 * i, 10);
    } else r->state.fcw = 0x37f;
    if (xstate_bv & 2) memcpy(r->state.xmm, fx + 160, 256);
    uint64_t end;
    r->patches = changes(shared->out + sizeof(Result), &end);
    shared->out = end;
    shared->in = behind(c);
    shared->index++;
}

static void handler(int signal, siginfo_t *info, void *context) {
    (void)info;
    asm volatile("pushfq; andl $~0x244500, (%%rsp); popfq" ::: "memory", "cc"); /* AC, NT, ID, TF, DF off */
    uint64_t fsbase = _readfsbase_u64(), gsbase = _readgsbase_u64();
    _writefsbase_u64(saved_fs);
    if (running) {
        store(signal, context, fsbase, gsbase);
        clean();
    }
    if (shared->index >= cases) {
        shared->done = 1;
        _exit(0);
    }
    load(context);
}

/* Both views of code and data are present in the page tables before the first case, so that error codes tell the truth. */
static void touch(void) {
    volatile uint8_t sum = 0;
    for (uint64_t a = CODE; a < CODE + CODE_SIZE; a += 4096) sum += *(volatile uint8_t *)a;
    for (uint64_t a = DATA; a < DATA + DATA_SIZE; a += 4096) sum += *(volatile uint8_t *)a;
    for (uint64_t a = DATA; a < DATA + READ_ONLY; a += 4096) *(volatile uint8_t *)a = *(volatile uint8_t *)a;
}

static void child(void) {
    stack_t alternate = { .ss_sp = mmap(0, 1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 1 << 18 };
    sigaltstack(&alternate, 0);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    int signals[] = { SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP, SIGSYS };
    for (int i = 0; i < 6; i++) sigaction(signals[i], &action, 0);
    running = 0;
    memcpy(data, background, DATA_SIZE);
    memset(code, HLT, CODE_SIZE);
    touch();
    saved_fs = _readfsbase_u64();
    _mm256_zeroall();
    asm volatile("hlt");
    _exit(3);
}

/* Waits for a child to end, or kills it when it makes no progress. */
static void watch(pid_t pid) {
    uint64_t last = shared->index;
    int idle = 0, status;
    for (;;) {
        struct timespec pause = { 0, idle > 20 ? 5000000 : 200000 };
        nanosleep(&pause, 0);
        if (waitpid(pid, &status, WNOHANG) == pid) return;
        if (shared->index != last) {
            last = shared->index;
            idle = 0;
        } else if (++idle > 400) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return;
        }
    }
}

static void mark_lost(void) {
    Case *c = (Case *)(input + shared->in);
    Result *r = (Result *)(output + shared->out);
    memset(r, 0, sizeof *r);
    r->status = LOST;
    r->state = c->state;
    shared->out += sizeof(Result);
    shared->in = behind(c);
    shared->index++;
}

/* LDT entries 1 and 2: 16-bit code based at CODE (selector 0Fh), 16-bit data based at DATA (17h). */
static void make_segments(void) {
    struct user_desc d = { .entry_number = 1, .base_addr = CODE, .limit = 0xffff, .contents = 2, .useable = 1 };
    syscall(SYS_modify_ldt, 0x11, &d, sizeof d);
    d.entry_number = 2;
    d.base_addr = DATA;
    d.contents = 0;
    syscall(SYS_modify_ldt, 0x11, &d, sizeof d);
}

int main(int argc, char **argv) {
    if (argc != 3) return 1;
    /* RDPID reads the number of the processor: always the first. */
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);
    int fd = open(argv[1], O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) return 1;
    input = mmap(0, st.st_size + 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    cases = *(uint64_t *)input;
    make_segments();
    uint64_t capacity = cases * (sizeof(Result) + 2048) + (8UL << 20);
    output = mmap(0, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared->in = 8;
    int memory = memfd_create("tested", 0);
    if (memory < 0 || ftruncate(memory, CODE_SIZE + DATA_SIZE) != 0) return 1;
    code = mmap(0, CODE_SIZE + DATA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    data = code + CODE_SIZE;
    mmap((void *)CODE, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, memory, 0);
    mmap((void *)DATA, READ_ONLY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, CODE_SIZE);
    mmap((void *)(DATA + READ_ONLY), DATA_SIZE - READ_ONLY, PROT_READ, MAP_SHARED | MAP_FIXED, memory, CODE_SIZE + READ_ONLY);
    for (uint64_t i = 0; i < DATA_SIZE; i++) background[i] = ((uint32_t)(DATA + i) * 0x9e3779b1u) >> 24;
    while (shared->index < cases) {
        pid_t pid = fork();
        if (pid == 0) child();
        watch(pid);
        if (shared->done) break;
        if (shared->index < cases) mark_lost();
    }
    int of = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (uint64_t written = 0; written < shared->out;) {
        ssize_t n = write(of, output + written, shared->out - written);
        if (n <= 0) return 2;
        written += n;
    }
    return 0;
}
