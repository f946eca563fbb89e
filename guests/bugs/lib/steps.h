/*
 * What a guest with a planted bug includes. Each defines one step of guests/lib anew (step.h there) and has a main() over it; all else is
 * the library as it is. Steps that other files of the library may call stand in ghcb.h, vc.h and paging.h; those below are static there.
 */
#pragma once

#include "boot.h"
#include "cbit.h"
#include "cpu.h"
#include "cpuid.h"
#include "exception.h"
#include "ghcb.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "vc-io.h"
#include "vc.h"
#include "work.h"

/* ghcb.c: reads the answer to an event; who shares the page with whom they have interrupted. */
enum ghcb_answer read_answer(struct ghcb *ghcb, uint64_t *result);
unsigned negotiate(void);
void interrupt_user(struct processor *processor);
void resume_user(struct processor *processor);

/* vc.c: is the instruction one that causes this exit code? */
bool fits(const struct vc_row *row, const struct insn *insn);

/* vc.c: whose #VC is it, by the frame's place; the instruction is done. */
struct processor *processor_of(const struct frame *frame);
void go_behind(struct vc *vc);

/* vc-events.c: a result of 32 bits, and EDX:EAX. */
bool get32(struct vc *vc, unsigned field, uint64_t *value);
enum vc_outcome get_pair(struct vc *vc);

/* vc-io.c: SW_EXITINFO1 of the request; how many elements it is about. */
uint64_t ioio_word(const struct io *io, const struct insn *insn);
uint64_t elements(const struct vc *vc, const struct io *io);

/* vc-io.c: may this program have this port; how many elements can be reached at its privilege; what goes into the shared buffer and out. */
bool permitted(const struct vc *vc, const struct io *io);
uint64_t reachable(const struct vc *vc, const struct io *io, const struct run *run);
uint64_t address_of(const struct vc *vc, const struct run *run, uint64_t i);
void copy_elements(struct vc *vc, const struct io *io, const struct run *run);
enum vc_outcome register_io(struct vc *vc, const struct io *io, uint64_t word);

/* vc-mmio.c: a load; its result in a register of the program. */
enum vc_outcome read_device(struct vc *vc, uint64_t gpa, unsigned size, uint64_t *value);
void set_register(struct frame *frame, const struct insn *insn, unsigned number, unsigned size, uint64_t value);

/* vc-mmio.c: is that a device's address; who may reach devices; a store. */
bool is_device(uint64_t address, unsigned size, uint64_t *gpa);
bool may_reach_devices(const struct vc *vc);
enum vc_outcome write_device(struct vc *vc, uint64_t gpa, unsigned size, uint64_t value);

/* nmi.c: the handler is done; the next NMI may come. */
void nmi_complete(void);

/* exception.c: did a program make this system call? */
bool is_user_call(const struct frame *frame);
