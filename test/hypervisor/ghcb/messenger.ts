// A guest whose only work is to carry messages: it puts given bytes into its GHCB page or a given value into its GHCB MSR, executes
// VMGEXIT, and writes down what page and MSR hold then. So a test states what a guest sends, and sees what a guest sees.

import { type GuestOptions, launch, type RunResult, type VirtualMachine } from '../../../src/cbit.ts';
import { Msr } from '../../../src/arch/msr.ts';
import { readMemory } from '../../system/runs.ts';
import { assembleGuest, GHCB, IMAGE, MEMORY } from '../../system/small-guest.ts';
import { type Request, writeRequest } from './page-bytes.ts';

/** `at`: where the GHCB MSR says that the page is, if not where it is. */
export type Message = { readonly page: Request; readonly at?: bigint } | { readonly msr: bigint };

/** What the guest found after one VMGEXIT. */
export type Reply = {
  /** The page as it was sent, and as it came back. */
  readonly sent: Uint8Array;
  readonly page: Uint8Array;
  readonly msr: bigint;
  /** NMIs that had arrived by then. */
  readonly nmis: number;
};

export type Correspondence = {
  /** Of the messages after which the guest went on. */
  readonly replies: readonly Reply[];
  readonly result: RunResult;
  /** What went to the debug console. */
  readonly output: readonly number[];
  /** At the end: the GHCB page, the GHCB MSR, and the shared area. */
  readonly page: Uint8Array;
  readonly msr: bigint;
  readonly shared: Uint8Array;
};

/** Shared memory that a message may name. */
export const SHARED_AREA = GHCB + 0x10_0000;
const SHARED_SIZE = 0x1_0000;

const PAGE = 4096;
const COUNT = GHCB + PAGE;
const NMIS = COUNT + 8;
const REPLIES = GHCB + 2 * PAGE;
/** MSR and number of NMIs stand before each page. */
const RECORD = PAGE + 16;
const MOST_MESSAGES = 40;

const code = (messages: number, at: number): string => `
  mov rbp, ${at}
  mov r14, ${REPLIES}
  mov r13d, ${messages}
next:
  lea rsi, [rbp + 8]
  mov rdi, r15
  mov ecx, ${PAGE / 8}
  rep movsq
  mov ecx, ${Msr.GHCB}
  mov eax, [rbp]
  mov edx, [rbp + 4]
  wrmsr
  vmgexit
  rdmsr
  mov [r14], eax
  mov [r14 + 4], edx
  mov eax, [${NMIS}]
  mov [r14 + 8], eax
  mov rsi, r15
  lea rdi, [r14 + 16]
  mov ecx, ${PAGE / 8}
  rep movsq
  inc dword [${COUNT}]
  add r14, ${RECORD}
  add rbp, ${PAGE + 8}
  dec r13d
  jnz next
  jmp over
nmi:
  inc dword [${NMIS}]
  iretq
over:
  cli`;

const assembled = (messages: number, at: number): Uint8Array => assembleGuest(code(messages, at), [], { 2: 'nmi' }).bytes;
/** Behind the code, on a page of its own. */
const MESSAGES = IMAGE + Math.ceil(assembled(MOST_MESSAGES, IMAGE).length / PAGE) * PAGE;

const pageOf = (message: Message): Uint8Array => {
  const page = new Uint8Array(PAGE);
  if ('page' in message) writeRequest(page, message.page);
  return page;
};
const msrOf = (message: Message): bigint => ('msr' in message ? message.msr : (message.at ?? BigInt(GHCB)));

/** The guest's image. */
export function messengerImage(msrs: readonly bigint[], pages: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(MESSAGES - IMAGE + pages.length * (PAGE + 8));
  bytes.set(assembled(pages.length, MESSAGES));
  const view = new DataView(bytes.buffer);
  pages.forEach((page, n) => {
    const at = MESSAGES - IMAGE + n * (PAGE + 8);
    view.setBigUint64(at, msrs[n]!, true);
    bytes.set(page, at + 8);
  });
  return bytes;
}

export function correspond(messages: readonly Message[], options: Partial<GuestOptions> = {}): Correspondence {
  return converse(messages.map(msrOf), messages.map(pageOf), options);
}

export function converse(msrs: readonly bigint[], pages: readonly Uint8Array[], options: Partial<GuestOptions> = {}): Correspondence {
  if (pages.length > MOST_MESSAGES) throw new Error(`more than ${MOST_MESSAGES} messages`);
  const output: number[] = [];
  const vm: VirtualMachine = launch({
    image: { name: 'messenger', bytes: messengerImage(msrs, pages) },
    memory: MEMORY,
    maxInstructions: 1_000_000,
    ...options,
    debugConsole: (byte) => output.push(byte),
  });
  try {
    while (!vm.advance(1_000_000));
    const memory = (at: number, length: number): Uint8Array => {
      const bytes = new Uint8Array(length);
      if (!readMemory(vm, at, bytes)) throw new Error(`there is no memory at 0x${at.toString(16)}`);
      return bytes;
    };
    const count = new DataView(memory(COUNT, 4).buffer).getUint32(0, true);
    const replies = Array.from({ length: count }, (_, n): Reply => {
      const record = memory(REPLIES + n * RECORD, RECORD);
      const view = new DataView(record.buffer);
      return { sent: pages[n]!, msr: view.getBigUint64(0, true), nmis: view.getUint32(8, true), page: record.slice(16) };
    });
    const left = { page: memory(GHCB, PAGE), msr: vm.vcpu.ghcbMsr, shared: memory(SHARED_AREA, SHARED_SIZE) };
    return { replies, result: vm.result(), output, ...left };
  } finally {
    vm.dispose();
  }
}
