// Nothing is forgotten: after a restore every variable of the machine, private ones too, is what it was, but for those named here, on which nothing
// depends that a guest, a trace or a report could show. Whoever adds a field to a component either shows it in `exchange` or names it here.

import { describe, expect, it } from 'vitest';
import { memoryDisk } from '../../src/cbit.ts';
import { kernel } from '../system/runs.ts';
import { Recorded, type Settings } from './branches.ts';
import { differing, dump } from './reflection.ts';

/** Classes that are not looked at. */
const classes = [
  // Code: decoded, compiled, and how to.
  ...[
    'FormSet',
    'Interpreter',
    'Compiler',
    'CodeCache',
    'InstructionDecoder',
    'RecordIndex',
    'StoppedRecords',
    'Straddlers',
    'InstructionEmulator',
    'Fetch',
  ],
  // Translations and what walks leave behind; where pages are.
  ...[
    'Contexts',
    'Tables',
    'WalkCache',
    'Walk',
    'Nested',
    'HostTables',
    'HostAddressSpace',
    'MappedPage',
    'PagePort',
    'VmcbPlace',
    'Environments',
  ],
  // Memory: compared byte by byte as ciphertext by the trace hash; these decide nothing besides.
  ...['FrameTable', 'ReverseMap', 'PageTable', 'Dram', 'PageHistory', 'SavedStore'],
  // What lasts for one access, one exit or one VMGEXIT.
  ...['ScratchLine', 'InstructionReader', 'ExitWriter', 'GuestRegisterFile', 'GhcbPage'],
  // Answers of CPUID that are kept, and what a VMRUN would load a second time.
  ...['GuestCpuid', 'Resumption'],
  // The test's own.
  ...['Recorded', 'Reader', 'Tracer'],
];

const fields = [
  'Cpu.#entries', // how far V8 has warmed up
  'EncryptionEngine.#base',
  'EncryptionEngine.#buffer',
  'EncryptionEngine.#bytes',
  'EngineMemory.used', // of contexts
  'Engine.#emulator',
  'Frames.losses',
  'Frames.revisions',
  'EnvironmentNumbers.#known',
  'Processor.askedBoard', // set anew by each run
  'RandomStream.#chunk', // follows from the position
  'RandomStream.#view',
  'VmsaStore.#last', // one of the entries
  'VmsaStore.#block',
  'VmsaStore.#page',
  'VmsaStore.#slotBytes',
  'VmsaStore.#slotView',
  'VmsaStore.#value',
  'VmsaStore.user', // whose Resumption counts
  'WorldSwitch.#kind', // of the VMRUN that is under way
  'WorldSwitch.#vmsa',
  'DmaEngine.#buffer',
  'IommuWalk.#quadwords',
  'SplitQueue.#bytes',
  'SplitQueue.#view',
  'VirtioBlock.#buffer',
];

const unseen = new Set([...classes, ...fields]);
const disks = [memoryDisk(new Uint8Array(0x1_0000))];

describe('a restore leaves nothing as it came to be since', () => {
  it.each<readonly [string, Settings]>([
    ['hello', {}],
    ['timer', { technology: 'none', cpu: 'naples', evict: 'random' }],
    ['smp', { vcpus: 4, hostCpus: 2, schedule: 'random' }],
    ['nmi', { cpu: 'genoa' }],
    ['dma', { bare: true, tsme: true }],
    ['virtio-blk', { disks, rng: true, virtio: 'mmio' }],
    ['virtio-blk', { disks, rng: true, technology: 'none' }],
  ])('%s with settings %#', (name, settings) => {
    const run = new Recorded({ image: kernel(name), ...settings });
    const { vm } = run;
    try {
      for (const length of [30_000, 400_000]) {
        vm.advance(20_000);
        const snapshot = vm.snapshot();
        const before = dump(vm, unseen);
        vm.advance(length);
        vm.restore(snapshot);
        expect(differing(before, dump(vm, unseen))).toEqual([]);
      }
    } finally {
      vm.dispose();
    }
  });

  it('and the walk sees private fields, closures and elements of maps', () => {
    let hidden = 1;
    class Counter {
      #count = 0;
      readonly #map = new Map([['a', { b: 0 }]]);
      step(): void {
        this.#count++;
        this.#map.set('a', { b: this.#count });
      }
    }
    const root = { counter: new Counter(), peek: () => hidden };
    const before = dump(root, new Set());
    root.counter.step();
    hidden++;
    expect(differing(before, dump(root, new Set()))).toEqual(['.peek(hidden)', 'Counter.#count', 'Counter.#map{}.b']);
    expect(root.peek()).toBe(2);
  });
});
