// A guest on two machines, one that interprets and one that compiles: they run the same slices, and after each of them all that the
// guest can see of its registers must be equal; now and then all that it has written, and what happened in between.

import { type GuestOptions, launch } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import type { CompilerSettings } from '../../src/cpu/compiler/compiler.ts';
import { traceLine } from '../../src/debug/ndjson.ts';
import type { Machine } from '../../src/machine/machine.ts';
import { State } from '../../src/memory/state.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';
import { RandomSource } from '../../src/util/random.ts';
import type { VirtualMachine } from '../../src/virtual-machine.ts';
import { statusFlagsOf } from '../../src/x86/flags.ts';

/** What a program can see of a state block: the rest is how far the processor has got, or flags in two words that have many spellings. */
const seen = [
  [State.GPR, State.ZERO],
  [State.RFLAGS, State.FUEL],
  [State.CPL, State.INTERCEPTS],
  [State.NMI_BLOCKED, State.VECTOR_OPERAND],
  [State.XMM, State.FDS + 4],
] as const;
/** Slices between two looks at all of memory. */
const MEMORY_EVERY = 256;

export type GuestCase = {
  readonly guest: GuestOptions;
  readonly compiler: CompilerSettings;
  /** On the compiling machine no store takes the fast path. */
  readonly watchAll: boolean;
  readonly mostInstructions: number;
  /** Most instructions of a slice. */
  readonly slice: number;
  readonly seed: string;
};

export type GuestVerdict = { readonly difference: string | null; readonly instructions: number; readonly compiled: number };

class Side {
  readonly vm: VirtualMachine;
  readonly #events: string[] = [];

  constructor(guest: GuestOptions, tier: CompilerSettings | 'interpreter', watchAll: boolean) {
    this.vm = launch({ ...guest, aes: nodeAes, tier, onEvent: (event) => this.#events.push(traceLine(event)) });
    this.vm.machine.engine.mmu.watchAll = watchAll;
  }

  get machine(): Machine {
    return this.vm.machine;
  }

  state(): Buffer {
    const { machine } = this;
    const { u8, i32 } = machine.engine.memory;
    const at = machine.guestState;
    const parts = seen.map(([from, to]) => u8.slice(at + from, at + to));
    return Buffer.concat([...parts, Uint8Array.of(statusFlagsOf(i32, at >>> 2) >>> 8, statusFlagsOf(i32, at >>> 2) & 0xff)]);
  }

  events(): string[] {
    return this.#events.splice(0);
  }

  end(): void {
    this.machine.engine.mmu.watchAll = false;
    this.vm.dispose();
  }
}

/** Runs a guest on both machines. */
export function runGuestCase({ guest, compiler, watchAll, mostInstructions, slice, seed }: GuestCase): GuestVerdict {
  const random = new RandomSource(seed).stream('slices');
  const sides = [new Side(guest, 'interpreter', false), new Side(guest, compiler, watchAll)] as const;
  const [a, b] = sides;
  let difference: string | null = null;
  for (let n = 1; difference === null; n++) {
    const instructions = 1 + random.below(slice);
    const [ended] = sides.map(({ vm }) => vm.advance(instructions));
    const last = ended === true || a.machine.retired >= mostInstructions;
    difference = differ(a, b) ?? (last || n % MEMORY_EVERY === 0 ? memoryDiffers(a.machine, b.machine) : null);
    if (last) break;
  }
  const verdict = { difference, instructions: a.machine.retired, compiled: b.machine.engine.cpu.compiled.instructions };
  for (const side of sides) side.end();
  return verdict;
}

function differ(a: Side, b: Side): string | null {
  const where = `after ${a.machine.retired} instructions`;
  const happened = b.events();
  for (const [n, event] of a.events().entries())
    if (event !== happened[n]) return `${where}: ${happened[n] ?? 'nothing'} instead of ${event}`;
  if (a.machine.retired !== b.machine.retired) return `${where}: ${b.machine.retired} are retired`;
  const [x, y] = [a.state(), b.state()];
  const at = x.findIndex((byte, k) => byte !== y[k]);
  return at < 0 ? null : `${where}: ${nameOf(at)} is ${y[at]} instead of ${x[at]}`;
}

/** Where a byte of Side.state lies in the state block. */
function nameOf(at: number): string {
  let left = at;
  for (const [from, to] of seen) {
    if (left < to - from) return `byte ${from + left} of the state block`;
    left -= to - from;
  }
  return 'the status flags';
}

function memoryDiffers(a: Machine, b: Machine): string | null {
  const [x, y] = [Buffer.alloc(PAGE_SIZE), Buffer.alloc(PAGE_SIZE)];
  for (let page = 0; page < a.pages; page++) {
    const written = [a.readCiphertext(page, x), b.readCiphertext(page, y)];
    if (!written[0]) x.fill(0);
    if (!written[1]) y.fill(0);
    if ((written[0] === true || written[1] === true) && !x.equals(y))
      return `after ${a.retired} instructions: page ${page.toString(16)} differs`;
  }
  return null;
}
