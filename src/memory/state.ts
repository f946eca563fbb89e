// Processor state: one block of 4 KiB in the WebAssembly memory per register context (a VMSA, a plain vCPU, an emulation
// context). Its address is a parameter of every generated function, so a world switch moves a pointer. All offsets are
// declared here and nowhere else; everything a guest can see of its registers is in this block.

/** Size of a state block in bytes. */
export const STATE_SIZE = 4096;

/** Segment registers in the order of the VMCB save area; each takes 16 bytes: u16 selector, u16 attributes, u32 limit, u64 base. */
export const Segment = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, GDTR: 6, LDTR: 7, IDTR: 8, TR: 9 } as const;
export type Segment = (typeof Segment)[keyof typeof Segment];

export const State = {
  GPR: 0, // u64[16]: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15
  RIP: 128, // u64, exact whenever no generated code runs
  ZERO: 136, // u64, always 0: the base or index of an operand that has none
  PAGE: 144, // u64, linear address of the page in execution; RIP = PAGE + page offset of the record
  FLAG_RESULT: 152, // i64, see x86/flags.ts
  FLAG_CARRY: 160, // i64
  RFLAGS: 168, // u32, RFLAGS without CF PF AF ZF SF OF; bit 1 set
  FUEL: 172, // i32, instructions left of the budget of this entry
  CONTEXT: 176, // u32, address of the translation context in force (memory/map.ts)
  LEAVE: 180, // i32, why generated code left (Leave)
  LINK: 184, // u32, record whose link is to be filled in, or 0
  CPL: 188, // u32
  SEGMENTS: 192, // 10 x 16 bytes
  CR0: 352,
  CR2: 360,
  CR3: 368,
  CR4: 376,
  CR8: 384,
  EFER: 392,
  DR0: 400, // u64[4]
  DR6: 432,
  DR7: 440,
  XCR0: 448,
  SHADOW: 456, // u32, interrupt shadow: 1 while interrupts are held off after STI or MOV SS
  MODE: 460, // u32, decoding mode: 16, 32 or 64
  STAR: 464,
  LSTAR: 472,
  CSTAR: 480,
  SFMASK: 488,
  KERNEL_GS_BASE: 496,
  SYSENTER_CS: 504,
  SYSENTER_ESP: 512,
  SYSENTER_EIP: 520,
  PAT: 528,
  TSC_AUX: 536,
  SPEC_CTRL: 544,
  DEBUGCTL: 552,
  XSS: 560,
  PKRU: 568,
  GHCB: 576, // GHCB MSR
  SEV_STATUS: 584,
  TSC_OFFSET: 592,
  INTERCEPTS: 600, // u32[6], VMCB 000h..017h of the guest that runs, or ran last: outside of guest mode nothing is executed
  IOPM: 624, // u64, system physical address
  MSRPM: 632, // u64
  FAULT_VECTOR: 640, // i32, exception that the current instruction raised, -1 if none
  FAULT_CODE: 644, // u32, its error code
  FAULT_ADDRESS: 648, // u64, linear address for CR2
  STOP: 656, // i32, exit code of an intercept or nested page fault that the current instruction met, STOP_NONE if none
  STOP_TRAP: 660, // u32, 1: RIP already lies behind the instruction
  STOP_INFO1: 664, // u64, EXITINFO1
  STOP_INFO2: 672, // u64, EXITINFO2
  ELEMENTS: 680, // u32, elements of string instructions beyond the first of each, since the entry
  PENDING_SIZE: 684, // u32, bytes in SCRATCH that commit must write
  PENDING_ADDRESS: 688, // u64, linear address where
  SCRATCH: 704, // 64 bytes, aligned: an access that cannot go straight to one frame
  STACK_MASK: 768, // u64, FFFFh, FFFF_FFFFh or all ones: the width of the stack pointer in force
  OPERAND: 776, // u64, a value that a system routine leaves for the destination operand
  HALTED: 784, // u32, 1 while an un-intercepted HLT waits for an interrupt
  RECORD: 788, // u32, record of the instruction whose slow store or routine is under way
  NMI_BLOCKED: 792, // u32, 1 from the delivery of an NMI to the next IRET
  MONITOR_ARMED: 796, // u32, 1 from MONITOR to MWAIT
  VECTOR_OPERAND: 800, // 16 bytes, the source of a routine on XMM registers
  EXIT_INT_INFO: 816, // u64, the event whose delivery an exit interrupted, as EXITINTINFO names it; 0: none
  MISSED: 824, // u32, record at which compiled code has left very often for want of a TLB entry, or 0
  DROPPED: 828, // u32, 1: compiled code was dropped since this was last cleared
  CONTEXTS: 832, // u32[4], translation contexts of the address space in force by PrivilegeClass (mmu/contexts.ts); 0: not made yet
  WAITING: 848, // u32, 1: an event may have to be delivered as soon as the instructions that open a window allow
  RESUME_AT: 852, // i32, RFLAGS.RF is set as long as FUEL is this; -1: it is clear
  PAUSE_FILTER: 856, // u32, VMCB 03Ch: threshold in bits 15:0, count in 31:16
  PAUSE_LEFT: 860, // i32, PAUSEs that may go by before one leaves
  PAUSE_SINCE: 864, // u32, when the last one was: bits 31:0 of the instructions retired
  OPERAND_LABEL: 872, // i64, where the operand of a system routine came from, while labels are followed (x86/label-table.ts)
  STOP_LENGTH: 944, // u32, bytes of the instruction that STOP intercepted; 0: read it to know
  XMM: 1024, // 16 x 16 bytes
  YMM_HIGH: 1280, // 16 x 16 bytes
  X87: 1536, // physical registers R0..R7, 16 bytes each (10 used)
  FCW: 1664, // u16
  FSW: 1666, // u16
  FTW: 1668, // u16, full tag word
  FOP: 1670, // u16
  FIP: 1672, // u64
  FDP: 1680, // u64
  MXCSR: 1688, // u32
  FCS: 1692, // u16
  FDS: 1694, // u16
} as const;

/** State.STOP when no exit is pending; distinct from every exit code. */
export const STOP_NONE = -0x8000_0000;
/** An access reaches a device: the instruction is to be executed anew, alone, so that time is exact and nothing asks twice. */
export const STOP_DEVICE = STOP_NONE + 1;

/** Byte offset of a segment register in the state block, and of its parts from there. */
export const segmentAt = (segment: Segment): number => State.SEGMENTS + 16 * segment;
export const SegmentPart = { SELECTOR: 0, ATTRIBUTES: 2, LIMIT: 4, BASE: 8 } as const;

/** Byte offset of a general-purpose register by its encoding number. */
export const gprAt = (n: number): number => State.GPR + 8 * n;
export const Gpr = { RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7 } as const;

/** Why generated code left for TypeScript. */
export const Leave = {
  FUEL: 0, // the budget is used up; RIP is the next instruction
  LOOKUP: 1, // RIP has no known record; LINK names a record to patch, or 0
  FAULT: 2, // the current instruction raised an exception or met an intercept: RIP is that instruction, nothing is retired
  EVENTS: 3, // an instruction was retired after which pending events must be looked at
  HOT: 4, // RIP was reached so often that it is worth compiling
} as const;
export type Leave = (typeof Leave)[keyof typeof Leave];
