// What the sanitizer remembers: plain data, so that a snapshot can hold a copy. A virtual CPU is a stack of levels: the program, and what interrupted it.

import type { PageImage } from './page-image.ts';
import type { Request } from './protocol.ts';

/** The registers of an interrupted program. */
export type Registers = {
  readonly gpr: readonly bigint[];
  readonly rip: bigint;
  readonly rflags: number;
  readonly cpl: number;
  readonly mode: number;
};

/** A #VC that is being handled. */
export type Vc = {
  readonly code: number;
  /** Raised by the processor, not injected. */
  readonly real: boolean;
  readonly before: Registers;
  /** The instruction: its bytes as they were, its length (0: none that decodes), its linear address by halves. */
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly matches: boolean;
  readonly low: number;
  readonly high: number;
  /** EXITINFO1 and EXITINFO2 as the processor had them. */
  readonly info1: bigint;
  readonly info2: bigint;
  /** Requests of the kind that the exit code asks for: was there one, was one that of the instruction, and the last with its answer. */
  asked: boolean;
  right: boolean;
  /** Other bytes were there at a request. */
  changed: boolean;
  last: Request | null;
  answer: PageImage | null;
  /** A response of the MSR protocol had another code than it should, and what was asked. */
  wrongResponse: bigint | null;
  stringChecked: boolean;
};

/** What a level has read of an answer. */
export type Window = {
  readonly request: Request;
  readonly rip: bigint;
  /** Bytes of the save area and the bitmap that were read. */
  readonly read: Uint8Array;
  /** Who read a quadword first. */
  readonly readers: Map<number, bigint>;
  /** As the hypervisor left the page. */
  answer: PageImage | null;
  /** An interrupt came since. */
  interrupted: boolean;
  /** The level has begun to write another request, or has cleared the bitmap: what it reads from now on is not the answer. */
  over: boolean;
};

/** What a level does with a GHCB page. */
export type Use = {
  /** Quadwords written for the request to come, and by whom. */
  readonly writers: Map<number, bigint>;
  window: Window | null;
  /** Quadwords that a nested level has left otherwise than it found them. */
  readonly clobbered: Set<number>;
  /** An interrupt came between the first field and VMGEXIT. */
  interrupted: boolean;
};

export type Level = {
  readonly vector: number;
  readonly vc: Vc | null;
  /** RSP and CPL that a return to the interrupted program has. */
  readonly rsp: bigint;
  readonly cpl: number;
  readonly uses: Map<number, Use>;
  /** Pages that lower levels were using when this one began. */
  readonly copies: Map<number, PageImage>;
  /** What it wrote into the GHCB MSR for the VMGEXIT to come. */
  msr: bigint | null;
};

/** Where and how a virtual CPU left. */
export type Departure = {
  readonly code: number;
  readonly rip: bigint;
  readonly cpl: number;
  readonly msr: bigint;
  /** The delivery of an NMI was interrupted by the exit. */
  readonly inDelivery: boolean;
  /** Of a VMGEXIT with a page. */
  readonly ghcb: GhcbState | null;
  readonly before: PageImage | null;
  readonly request: Request | null;
};

export type VirtualCpu = {
  readonly levels: Level[];
  /** The #VC or other event whose delivery is under way. */
  pending: Level | null;
  departure: Departure | null;
  /** A #VC of the processor is about to be delivered: EXITINFO1 and 2. */
  raised: { readonly info1: bigint; readonly info2: bigint } | null;
  /** It asked for termination. */
  terminated: boolean;
  /** A request of the MSR protocol whose answer had another code. */
  doubt: bigint | null;
  /** An NMI was injected, and is not complete. */
  inNmi: boolean;
  /** Its handler has returned, by this IRET. */
  leftNmi: bigint | null;
};

/** A page that is, or was, a GHCB: everybody's view of it. */
export type GhcbState = {
  readonly gpa: number;
  readonly page: number;
  /** The page as the last answer left it. */
  answer: PageImage | null;
  /** Bits of the bitmap that have been clear since, and quadwords written since. */
  readonly seenClear: Uint8Array;
  readonly written: Set<number>;
  /** Key of the last store. -1: none was seen. */
  lastKey: number;
  /** A page with version and usage as an answer has changed them. null: none has. */
  imposed: PageImage | null;
};

export type SanitizerState = {
  readonly cpus: Map<number, VirtualCpu>;
  readonly pages: Map<number, GhcbState>;
  /** The AP jump table as the hypervisor named it, by page; misaligned: from that byte on. */
  jumpTable: { readonly page: number; readonly offset: number } | null;
  /** What the hypervisor said that is not so. */
  wrongCBit: boolean;
  hidesSev: boolean;
  /** A program has run in user mode. */
  userMode: boolean;
  /** Protocol versions that it speaks. */
  versions: { readonly least: number; readonly most: number } | null;
};

export const emptyState = (): SanitizerState => ({
  cpus: new Map(),
  pages: new Map(),
  jumpTable: null,
  wrongCBit: false,
  hidesSev: false,
  userMode: false,
  versions: null,
});

export const newCpu = (): VirtualCpu => ({
  levels: [newLevel(-1, null, 0n, 0)],
  pending: null,
  departure: null,
  raised: null,
  terminated: false,
  doubt: null,
  inNmi: false,
  leftNmi: null,
});

export const newUse = (): Use => ({ writers: new Map(), window: null, clobbered: new Set(), interrupted: false });
export const newLevel = (vector: number, vc: Vc | null, rsp: bigint, cpl: number): Level => ({
  vector,
  vc,
  rsp,
  cpl,
  uses: new Map(),
  copies: new Map(),
  msr: null,
});
