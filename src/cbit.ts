// The library: what `import ... from 'cbit'` gives. docs/library.md states it for users, with examples. Nothing here needs Node.

import { TraceHash } from './debug/trace-hash.ts';
import { Tracer, type TraceReader } from './debug/tracer.ts';
import { Host as MachineHost, type HostedGuest, type HostedOptions, type HostOptions } from './host.ts';
import { type RunOptions, type RunResult, SLICE, VirtualMachine } from './virtual-machine.ts';
import { nobleAes } from './memory/aes-noble.ts';
import type { TraceEvent } from './util/trace.ts';

export { ExitClass, ExitCode, exitClass, exitName } from './arch/exit-code.ts';
export { Ghcb, GhcbInfo } from './arch/ghcb.ts';
export { Msr } from './arch/msr.ts';
export { VmcbControl } from './arch/vmcb.ts';
export { Vmsa } from './arch/vmsa.ts';
export { type AssembleOptions, type Assembled, assemble } from './asm/assemble.ts';
export { traceLine } from './debug/ndjson.ts';
export type { AsidEntry, DramImage, GuestState, HostedGuest, HostInfo, HostOptions } from './host.ts';
export type { Snapshot } from './util/snapshot.ts';
export type { Outcome } from './hypervisor/outcome.ts';
export { type RunOptions, type RunResult, VirtualMachine } from './virtual-machine.ts';
export { nobleAes as portableAes } from './memory/aes-noble.ts';
export type { AesEngine } from './memory/block-cipher.ts';
export { type BlockStore, memoryStore as memoryDisk } from './devices/virtio-block.ts';
export { type Spa, spa } from './util/address.ts';
export { InternalError, UserError } from './util/errors.ts';
export type { TraceEvent } from './util/trace.ts';
export type { Finding } from './sanitizer/finding.ts';
export { attachSanitizer, type Sanitizer } from './sanitizer/sanitizer.ts';

/** A guest's outside. */
type Ends = {
  /** Bytes for COM1 of the guest. */
  readonly input?: Uint8Array;
  /** Told of every byte that the guest sends over COM1. */
  readonly onSerial?: (byte: number) => void;
  /** Told of every event as it happens. */
  readonly onEvent?: (event: TraceEvent) => void;
};

/** What a guest is run with. Only the image, or the ROM, has no default. */
export type GuestOptions = Partial<Omit<RunOptions, 'trace' | 'serial'>> & Ends;

/** What one guest of several is run with: no two that a host has at a time have the same name. */
export type HostGuestOptions = Partial<Omit<HostedOptions, 'name' | 'trace' | 'serial'>> & Ends & Pick<HostedOptions, 'name'>;

/** The defaults of the command line: docs/run.md. */
export const defaults = {
  technology: 'sev-es',
  memory: 64 * 2 ** 20,
  cpu: 'milan',
  seed: '0',
  maxInstructions: null,
  intercepts: [],
  append: '',
  haltOk: false,
  rtc: Date.UTC(2026, 0, 1),
  aes: nobleAes,
} as const satisfies Partial<RunOptions>;

/** Builds the machine and launches the guest, up to but not including its first instruction. Throws UserError. */
export function launch(options: GuestOptions): VirtualMachine {
  return wire(options);
}

/** A run, its serial output, and the hash that is the same for equal runs (docs/trace.md). */
export type Run = RunResult & { readonly serial: string; readonly traceHash: string };

/** Runs a guest to its end. Throws UserError for what is wrong with image or options; whatever the guest does is a result. */
export function run(options: GuestOptions): Run {
  const hash = new TraceHash();
  const sent: number[] = [];
  const vm = wire(options, [hash], (byte) => sent.push(byte));
  try {
    while (!vm.advance(SLICE));
    const { machine } = vm;
    const traceHash = hash.finish({ pages: machine.pages, read: (page, into) => machine.readCiphertext(page, into) });
    return { ...vm.result(), serial: new TextDecoder().decode(Uint8Array.from(sent)), traceHash };
  } finally {
    vm.dispose();
  }
}

/** A computer with any number of guests, each with a key of its own. The defaults are those of `launch`. Throws UserError. */
export class Host extends MachineHost {
  constructor(options: Partial<HostOptions> = {}) {
    const { cpu, seed, aes } = defaults;
    super({ cpu, seed, aes, ...options });
  }

  /** Launches a guest, up to but not including its first instruction. Throws UserError. */
  override create(options: HostGuestOptions | HostedOptions): HostedGuest {
    if ('serial' in options) return super.create(options);
    const { input, onSerial, onEvent, ...rest } = options;
    const tracer = onEvent ? new Tracer([{ note: onEvent }]) : null;
    const guest = super.create({ ...defaults, ...rest, serial: serialOf({ input, onSerial }), trace: tracer });
    if (tracer) tracer.clock = () => guest.retired;
    return guest;
  }
}

function serialOf(
  { input, onSerial }: { readonly [K in 'input' | 'onSerial']: Ends[K] | undefined },
  onByte: (byte: number) => void = () => {},
) {
  let next = 0;
  return {
    transmit: (byte: number): void => {
      onByte(byte);
      onSerial?.(byte);
    },
    next: (): number | undefined => input?.[next++],
    capture: (): number => next,
    restore: (read: number): void => {
      next = read;
    },
  };
}

function wire(options: GuestOptions, readers: readonly TraceReader[] = [], onByte: (byte: number) => void = () => {}): VirtualMachine {
  const { input, onSerial, onEvent, ...rest } = options;
  const listeners = [...readers, ...(onEvent ? [{ note: onEvent }] : [])];
  const tracer = listeners.length > 0 ? new Tracer(listeners) : null;
  const serial = serialOf({ input, onSerial }, onByte);
  const technology = rest.bare === true ? 'none' : defaults.technology;
  const vm = new VirtualMachine({ ...defaults, technology, ...rest, serial, trace: tracer });
  if (tracer) tracer.clock = () => vm.machine.retired;
  vm.capture('serial input', serial);
  return vm;
}
