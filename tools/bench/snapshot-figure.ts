// What it costs to take a snapshot and to go back to it: a guest of 64 MiB of which 20 pages have changed in between.

import { nodeAes } from '../../src/cli/aes-node.ts';
import { launch } from '../../src/cbit.ts';
import { helloImage } from './hello-guest.ts';

const PAGE = 4096;
const MEBIBYTE = 2 ** 20;
const DIRTY = 20;
/** Pages apart from each other, as those that a program changes are. */
const APART = 37;
const ROUNDS = 2000;

/** Microseconds for both together, median of many rounds. */
export function snapshotAndRestore(): number {
  const vm = launch({ image: helloImage, aes: nodeAes, memory: 64 * MEBIBYTE });
  try {
    vm.advance(100_000);
    const { frames } = vm.machine.engine;
    const { ram, asid } = vm.guest.vm.config;
    const bytes = new Uint8Array(8);
    const change = (value: number): void => {
      bytes.fill(value);
      for (let n = 0; n < DIRTY; n++) frames.write(ram.at + ram.size / 2 + n * APART * PAGE, asid, bytes);
    };
    const taken: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      change(round);
      const began = performance.now();
      const snapshot = vm.snapshot();
      const between = performance.now();
      change(round + 1);
      const back = performance.now();
      vm.restore(snapshot);
      taken.push(between - began + performance.now() - back);
    }
    taken.sort((a, b) => a - b);
    return taken[ROUNDS / 2]! * 1000;
  } finally {
    vm.dispose();
  }
}
