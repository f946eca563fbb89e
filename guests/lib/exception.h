/*
 * Exceptions and interrupts. Each arrives in exception_dispatch() with the interrupted registers in a frame that the handler may change.
 *
 * An instruction that is meant to fault says so with MAY_TRAP: the fault is noted in `last_trap` and execution goes on at the
 * place named. Any other exception without a handler is reported, and ends the guest.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define VECTOR_USER_CALL 0x80 /* the one INT n that ring 3 may use */
#define VECTOR_COUNT     256

/* What vectors.S and the processor leave on the stack, lowest address first (APM vol. 2, 8.9.3). */
struct frame {
  uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
  uint64_t vector;
  uint64_t error_code; /* 0 for vectors that push none */
  uint64_t rip, cs, rflags, rsp, ss;
};

static inline bool from_user(const struct frame *frame) {
  return (frame->cs & 3) == 3;
}

void exceptions_make(void);
void exceptions_load(void);

/*
 * `handler` says whether the exception is dealt with; if not, it is handled as if there were no handler. It runs with interrupts
 * off. Interrupts have handlers in the same way; the end of interrupt is theirs to signal.
 */
typedef bool exception_handler(struct frame *frame);
void exception_on(unsigned vector, exception_handler *handler);

/* Delivers `vector` on another stack of the TSS (segments.h). */
void exception_use_ist(unsigned vector, unsigned ist);

/* Marks a gate present or not. */
void exception_set_present(unsigned vector, bool present);

/* Reads an MSR that may be absent: false. Leaves `last_trap` alone. */
bool rdmsr_safe(uint32_t msr, uint64_t *value);

/* Called by vectors.S, not for #VC and NMI, which have handlers of their own; and by vc.c, with another vector in the frame, when a #VC turns out to be another exception. */
void exception_dispatch(struct frame *frame);

#define NO_TRAP (~0u)

struct trap {
  unsigned vector; /* NO_TRAP: nothing happened */
  uint64_t error_code;
  uint64_t rip;
  uint64_t rsp;
  uint64_t cs;
  uint64_t cr2;
  uint64_t frame; /* where the processor put the exception's frame: tells the stack */
};
extern volatile struct trap last_trap;

static inline void expect_trap(void) {
  last_trap.vector = NO_TRAP;
}

/* For inline assembly: a fault at label `at` resumes at label `resume`. */
#define MAY_TRAP(at, resume) ".pushsection .may_trap, \"a\"\n.quad " #at ", " #resume "\n.popsection\n"

/* Runs one instruction; `last_trap` tells how it went. Operands as for asm. */
#define TRY(instruction, ...)                                   \
  do {                                                          \
    expect_trap();                                              \
    asm volatile("1: " instruction "\n2:\n" MAY_TRAP(1b, 2b) __VA_ARGS__); \
  } while (0)
