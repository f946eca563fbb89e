// A box with an AMD-SP in it, real memory and no processor: 8 MiB of DRAM, 15 ASIDs of which 1 to 4 are for SEV-ES, the
// tweak of the first generation. The random source counts, so that a test knows which key came first.

import { AspMailbox } from '../../firmware/mailbox.ts';
import { Asp } from '../../firmware/asp.ts';
import type { AspPorts } from '../../firmware/ports.ts';
import {
  ActivateBuffer,
  AspCommand,
  type AspCommandName,
  aspStatusName,
  GuestPolicy,
  GuestStatusBuffer,
  HandleBuffer,
  INIT_FLAG_ES,
  InitBuffer,
  LaunchRegionBuffer,
  LaunchStartBuffer,
  PlatformStatusBuffer,
  TMR_SIZE,
} from '../../src/arch/asp.ts';
import { Syscfg } from '../../src/arch/sev-features.ts';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import { Dram } from '../../src/memory/dram.ts';
import { EncryptionEngine } from '../../src/memory/encryption.ts';
import { Frames } from '../../src/memory/frames.ts';
import { EngineMemory } from '../../src/memory/map.ts';
import { Asids } from '../../src/sev/asid-ownership.ts';
import { PhysicalAddresses } from '../../src/sev/physical-addresses.ts';
import { TrustedMemory } from '../../src/sev/trusted-memory.ts';
import type { HostMemory } from '../../src/svm/host-processor.ts';
import { PagePort } from '../../src/memory/host-page.ts';
import { type Spa, spa } from '../../src/util/address.ts';
import type { Layout, Struct, View } from '../../src/util/struct.ts';

const MIB = 0x10_0000;
export const DRAM_SIZE = 8 * MIB;
export const TMR = 4 * MIB;
/** Position of the C-bit. */
export const C_BIT = 47;
export const ES_ASID = 1;
export const SEV_ASID = 5;
/** Where `call` puts command buffers. */
export const BUFFER = 0x1000;
/** A page of the host's to launch from. */
export const PAGE = 0x2_0000;

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const pattern = (length: number, first = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => first + 11 * i + (i >>> 8));

export class Box {
  /** One memory and one set of frames for all boxes: reserving it is what costs. */
  static readonly #memory = new EngineMemory({ states: 4, contexts: 10, recordBytes: 0x1_0000, pages: [128] });
  readonly dram = new Dram(DRAM_SIZE);
  readonly encryption: EncryptionEngine;
  readonly frames: Frames;
  readonly asids: Asids;
  readonly trustedMemory = new TrustedMemory();
  readonly ports: AspPorts;
  readonly asp: Asp;
  readonly mailbox: AspMailbox;
  readonly memory: HostMemory;
  readonly addresses: PhysicalAddresses;
  /** What the AMD-SP drew, in order. */
  readonly drawn: Uint8Array[] = [];
  syscfg: number = Syscfg.MEM_ENCRYPTION_MOD_EN;
  interrupts = 0;
  #draws = 0;

  /** `coherent`: hardware keeps views of a page under different keys the same. */
  constructor(processors = 1, coherent = true) {
    this.encryption = new EncryptionEngine(nobleAes, 16, { mode: 'xe', constants: 'published' }, (into) => into.fill(0x5a));
    const frames = new Frames(Box.#memory, this.dram, this.encryption, coherent);
    this.frames = frames;
    this.asids = new Asids(15, 5, processors);
    const memory = {
      size: this.dram.size,
      read: (at: Spa, slot: number, into: Uint8Array) => frames.readSecure(at, slot, into),
      write: (at: Spa, slot: number, from: Uint8Array) => frames.writeSecure(at, slot, from),
      fence: (start: Spa, length: number) => frames.fence(start / 4096, length / 4096),
      unfence: (start: Spa, length: number) => frames.unfence(start / 4096, length / 4096),
    };
    const random = (into: Uint8Array): void => {
      this.#draws++;
      into.forEach((_, i) => {
        into[i] = 0x10 * this.#draws + i;
      });
      into[1] = this.#draws >>> 8; // so that no key comes twice
      into[0] = this.#draws;
      this.drawn.push(into.slice());
    };
    this.addresses = new PhysicalAddresses({ cBit: C_BIT, physicalBits: 48, reducedBits: 4 }, this.encryption.hostKey);
    this.addresses.encryption = true;
    const { encryption: keys, asids, trustedMemory } = this;
    this.ports = { memory, keys, asids, trustedMemory, random, syscfg: () => this.syscfg, addresses: () => this.addresses };
    this.asp = new Asp(this.ports);
    this.mailbox = new AspMailbox(this.asp, () => this.interrupts++);
    this.memory = {
      size: this.dram.size,
      read: (at, into) => frames.read(at, 0, into),
      write: (at, from) => frames.write(at, 0, from),
      zero: (at, length) => frames.write(at, 0, new Uint8Array(length)),
      flush: () => {},
      page: (at) => new PagePort(frames, at / 4096),
    };
  }

  write(at: number, bytes: Uint8Array): void {
    this.memory.write(spa(at), bytes);
  }

  read(at: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.memory.read(spa(at), bytes);
    return bytes;
  }

  /** A command without a buffer, by its status' name. */
  plain(name: AspCommandName): string {
    return aspStatusName(this.asp.execute(AspCommand[name], 0n));
  }

  /** A command with a buffer: the status' name, and the buffer afterwards. */
  call<const L extends Layout>(
    name: AspCommandName,
    buffer: Struct<L>,
    fields: Partial<View<L>>,
  ): { readonly status: string; readonly out: View<L> } {
    const { view, bytes } = buffer.create();
    Object.assign(view, fields);
    this.write(BUFFER, bytes);
    const status = aspStatusName(this.asp.execute(AspCommand[name], BigInt(BUFFER)));
    bytes.set(this.read(BUFFER, bytes.length));
    return { status, out: view };
  }

  init(fields: Partial<View<typeof InitBuffer.layout>> = { flags: INIT_FLAG_ES, tmrPaddr: BigInt(TMR), tmrLength: TMR_SIZE }): string {
    return this.call('INIT', InitBuffer, fields).status;
  }

  platformStatus(): View<typeof PlatformStatusBuffer.layout> {
    return this.call('PLATFORM_STATUS', PlatformStatusBuffer, {}).out;
  }

  guestStatus(handle: number): View<typeof GuestStatusBuffer.layout> {
    return this.call('GUEST_STATUS', GuestStatusBuffer, { handle }).out;
  }

  /** WBINVD on every processor and DF_FLUSH. */
  flush(processors = 1): string {
    for (let processor = 0; processor < processors; processor++) this.asids.wbinvd(processor);
    return this.plain('DF_FLUSH');
  }

  start(policy: number): number {
    return this.call('LAUNCH_START', LaunchStartBuffer, { policy }).out.handle;
  }

  activate(handle: number, asid: number): string {
    return this.call('ACTIVATE', ActivateBuffer, { handle, asid }).status;
  }

  forGuest(name: 'DEACTIVATE' | 'DECOMMISSION' | 'LAUNCH_FINISH', handle: number): string {
    return this.call(name, HandleBuffer, { handle }).status;
  }

  region(
    name: 'LAUNCH_UPDATE_DATA' | 'LAUNCH_UPDATE_VMSA' | 'LAUNCH_MEASURE',
    handle: number,
    paddr: number | bigint,
    length: number,
  ): string {
    return this.call(name, LaunchRegionBuffer, { handle, paddr: BigInt(paddr), length }).status;
  }
}

/** Initialised for SEV-ES and flushed, no guest. */
export function ready(): Box {
  const box = new Box();
  box.init();
  box.flush();
  return box;
}

/** With one active guest in LUPDATE. */
export function launching(es = true): { readonly box: Box; readonly handle: number; readonly asid: number } {
  const box = ready();
  const handle = box.start(es ? GuestPolicy.ES : 0);
  const asid = es ? ES_ASID : SEV_ASID;
  box.activate(handle, asid);
  return { box, handle, asid };
}

export const MEASURE_AT = 0x3000;

/** The same guest, measured and finished. */
export function running(es = true): { readonly box: Box; readonly handle: number; readonly asid: number } {
  const launched = launching(es);
  launched.box.region('LAUNCH_MEASURE', launched.handle, MEASURE_AT, 48);
  launched.box.forGuest('LAUNCH_FINISH', launched.handle);
  return launched;
}
