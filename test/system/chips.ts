// A machine seen from outside: what its memory chips hold, opened by the second implementation with the keys that were handed to the
// AES engine. A test may know them; nothing in the product hands them out.

import { nodeAes } from '../../src/cli/aes-node.ts';
import type { AesEngine, VirtualMachine } from '../../src/cbit.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';
import { RandomSource } from '../../src/util/random.ts';
import { decryptMemory, drawnTweak, type MemoryCipher, publishedTweak } from '../second-implementation.ts';

/** An AES engine that remembers its keys. */
export function recordingAes(): { readonly aes: AesEngine; readonly guestKey: () => Uint8Array; readonly hostKey: () => Uint8Array } {
  const keys: Uint8Array[] = [];
  const create: AesEngine['create'] = (key) => {
    keys.push(key.slice());
    return nodeAes.create(key);
  };
  // The last one: the guest's, drawn at LAUNCH_START and put into its slot at ACTIVATE.
  const guestKey = (): Uint8Array => keys.at(-1) ?? new Uint8Array(16);
  // The second one: what unwritten slots have is drawn before it.
  return { aes: { name: 'recording', create }, guestKey, hostKey: () => keys[1] ?? new Uint8Array(16) };
}

/** Address bits 4 to 51 have a constant of 16 bytes each. */
const CONSTANTS = 48 * 16;

/** How a processor model encrypts. */
export const cipherOf = (cpu: string, seed: string): MemoryCipher =>
  cpu === 'naples'
    ? { mode: 'xe', constants: publishedTweak }
    : { mode: 'xex', constants: drawnTweak(new RandomSource(seed).stream('memory tweak').bytes(CONSTANTS)) };

/** A page as the chips hold it, by its number, caches written back. */
export function held({ machine }: VirtualMachine, page: number): Uint8Array {
  const bytes = new Uint8Array(PAGE_SIZE);
  machine.engine.frames.flush();
  bytes.set(machine.dram.peek(page) ?? []);
  return bytes;
}

export const opened = (vm: VirtualMachine, cipher: MemoryCipher, key: Uint8Array, page: number): Buffer =>
  decryptMemory(cipher, key, page * PAGE_SIZE, held(vm, page));

/** Pages of guest RAM by their numbers in system memory. */
export function ramPages({ vcpu }: VirtualMachine): number[] {
  const { at, size } = vcpu.vm.config.ram;
  return Array.from({ length: size / PAGE_SIZE }, (_, n) => at / PAGE_SIZE + n);
}

/** The blocks that the memory controller encrypts, as keys of a set. */
export function* blocksOf(bytes: Uint8Array): Generator<string> {
  const text = Buffer.from(bytes).toString('latin1');
  for (let at = 0; at < text.length; at += 16) yield text.slice(at, at + 16);
}

export const ZEROS = '\0'.repeat(16);
