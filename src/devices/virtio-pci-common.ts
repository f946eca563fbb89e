// The common configuration structure of virtio over PCI (OASIS Virtual I/O Device, version 1.2, 4.1.4.3), as a table of its fields. A field
// is accessed in its own width; the halves of the 64-bit ones may come one after the other (4.1.3.1).

import type { MmioSize } from './mmio-bus.ts';
import { NO_VECTOR } from './msix.ts';
import type { VirtioDevice } from './virtio-device.ts';
import { withHalf } from './virtio-mmio.ts';
import type { SplitQueue } from './virtio-queue.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Offsets of struct virtio_pci_common_cfg. */
export const VirtioCommonField = {
  DEVICE_FEATURE_SELECT: 0x00,
  DEVICE_FEATURE: 0x04,
  DRIVER_FEATURE_SELECT: 0x08,
  DRIVER_FEATURE: 0x0c,
  CONFIG_MSIX_VECTOR: 0x10,
  NUM_QUEUES: 0x12,
  DEVICE_STATUS: 0x14,
  CONFIG_GENERATION: 0x15,
  QUEUE_SELECT: 0x16,
  QUEUE_SIZE: 0x18,
  QUEUE_MSIX_VECTOR: 0x1a,
  QUEUE_ENABLE: 0x1c,
  QUEUE_NOTIFY_OFF: 0x1e,
  QUEUE_DESC: 0x20,
  QUEUE_DRIVER: 0x28,
  QUEUE_DEVICE: 0x30,
} as const;
const F = VirtioCommonField;

type Field = {
  readonly at: number;
  readonly size: MmioSize;
  readonly get: (common: State) => number;
  readonly set?: (common: State, value: number) => void;
};

type State = {
  readonly device: VirtioDevice;
  readonly vectors: number;
  readonly reset: () => void;
  deviceWord: number;
  driverWord: number;
  queue: number;
  configurationVector: number;
  readonly queueVectors: Uint16Array;
};

const selected = ({ device, queue }: State): SplitQueue | undefined => device.queues[queue];
/** A vector that there is none of becomes NO_VECTOR, which is how the driver hears of it (4.1.5.1.2). */
const vectorOf = ({ vectors }: State, value: number): number => (value < vectors ? value : NO_VECTOR);
/** Sizes and addresses are settled while a queue is not enabled. */
const unready = (state: State): SplitQueue | undefined => {
  const queue = selected(state);
  return queue?.ready === false ? queue : undefined;
};

const address = (at: number, name: 'descriptors' | 'available' | 'used'): Field[] =>
  [at, at + 4].map((half) => ({
    at: half,
    size: 4,
    get: (state) => Number(((selected(state)?.[name] ?? 0n) >> (half === at ? 0n : 32n)) & 0xffff_ffffn),
    set: (state, value) => {
      const queue = unready(state);
      if (queue !== undefined) queue[name] = withHalf(queue[name], half - at, value);
    },
  }));

const registers: readonly Field[] = [
  { at: F.DEVICE_FEATURE_SELECT, size: 4, get: (s) => s.deviceWord, set: (s, value) => (s.deviceWord = value) },
  { at: F.DEVICE_FEATURE, size: 4, get: (s) => s.device.offered(s.deviceWord) },
  { at: F.DRIVER_FEATURE_SELECT, size: 4, get: (s) => s.driverWord, set: (s, value) => (s.driverWord = value) },
  {
    at: F.DRIVER_FEATURE,
    size: 4,
    get: (s) => s.device.accepted(s.driverWord),
    set: (s, value) => s.device.accept(s.driverWord, value),
  },
  {
    at: F.CONFIG_MSIX_VECTOR,
    size: 2,
    get: (s) => s.configurationVector,
    set: (s, value) => (s.configurationVector = vectorOf(s, value)),
  },
  { at: F.NUM_QUEUES, size: 2, get: (s) => s.device.queues.length },
  { at: F.DEVICE_STATUS, size: 1, get: (s) => s.device.status, set: setStatus },
  { at: F.CONFIG_GENERATION, size: 1, get: () => 0 },
  { at: F.QUEUE_SELECT, size: 2, get: (s) => s.queue, set: (s, value) => (s.queue = value) },
  { at: F.QUEUE_SIZE, size: 2, get: (s) => selected(s)?.size ?? 0, set: (s, value) => unready(s)?.resize(value) },
  {
    at: F.QUEUE_MSIX_VECTOR,
    size: 2,
    get: (s) => s.queueVectors[s.queue] ?? NO_VECTOR,
    set: (s, value) => {
      if (s.queue < s.queueVectors.length) s.queueVectors[s.queue] = vectorOf(s, value);
    },
  },
  { at: F.QUEUE_ENABLE, size: 2, get: (s) => (selected(s)?.ready === true ? 1 : 0), set: enable },
  { at: F.QUEUE_NOTIFY_OFF, size: 2, get: (s) => (selected(s) === undefined ? 0 : s.queue) },
  ...address(F.QUEUE_DESC, 'descriptors'),
  ...address(F.QUEUE_DRIVER, 'available'),
  ...address(F.QUEUE_DEVICE, 'used'),
];

function setStatus(state: State, value: number): void {
  state.device.status = value;
  if (value !== 0) return;
  state.configurationVector = NO_VECTOR;
  state.queueVectors.fill(NO_VECTOR);
  state.reset();
}

/** A driver cannot take it back but by a reset (4.1.4.3.2). */
function enable(state: State, value: number): void {
  const queue = selected(state);
  if (queue !== undefined && value === 1) queue.ready = true;
}

export class VirtioCommon implements Stateful {
  readonly #state: State;

  /** `vectors`: of the MSI-X table; `reset`: the driver has reset the device. */
  constructor(device: VirtioDevice, vectors: number, reset: () => void) {
    const queueVectors = new Uint16Array(device.queues.length).fill(NO_VECTOR);
    this.#state = { device, vectors, reset, deviceWord: 0, driverWord: 0, queue: 0, configurationVector: NO_VECTOR, queueVectors };
  }

  get configurationVector(): number {
    return this.#state.configurationVector;
  }

  queueVector(queue: number): number {
    return this.#state.queueVectors[queue] ?? NO_VECTOR;
  }

  /** A read of another width gives what the fields hold there. */
  read(offset: number, size: MmioSize): number {
    let value = 0;
    for (let k = 0; k < size; ) {
      const field = fieldAt(offset + k);
      if (field === undefined) break;
      const inside = offset + k - field.at;
      value |= (field.get(this.#state) >>> (8 * inside)) << (8 * k);
      k += field.size - inside;
    }
    return size === 4 ? value >>> 0 : value & ((1 << (8 * size)) - 1);
  }

  write(offset: number, size: MmioSize, value: number): void {
    const field = fieldAt(offset);
    if (field !== undefined && field.at === offset && field.size === size) field.set?.(this.#state, value);
  }

  exchange(fields: Fields): void {
    const state = this.#state;
    state.deviceWord = fields.value(state.deviceWord);
    state.driverWord = fields.value(state.driverWord);
    state.queue = fields.value(state.queue);
    state.configurationVector = fields.value(state.configurationVector);
    fields.numbers(state.queueVectors);
  }
}

const fieldAt = (offset: number): Field | undefined => registers.find(({ at, size }) => offset >= at && offset < at + size);
