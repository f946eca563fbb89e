// The host's driver of the AMD-SP: command buffers in host memory, the mailbox, and results as values. Whatever answers,
// nothing is thrown: an AMD-SP that is absent, hangs or says what no manual knows gives { ok: false }. After a time-out it
// counts as dead, as in Linux drivers/crypto/ccp, whose order of register writes (Lo, Hi, CmdResp) this is.

import {
  ActivateBuffer,
  ASP_ABSENT,
  AspCommand,
  type AspCommandName,
  AspFeature,
  AspRegister,
  AspStatus,
  aspStatusName,
  CmdResp,
  GuestStatusBuffer,
  HandleBuffer,
  INIT_FLAG_ES,
  InitBuffer,
  LaunchRegionBuffer,
  LaunchStartBuffer,
  MEASUREMENT,
  PlatformStatusBuffer,
} from '../arch/asp.ts';
import type { HostProcessor } from '../svm/host-processor.ts';
import { type Spa, spa } from '../util/address.ts';
import type { Layout, Struct, View } from '../util/struct.ts';
import type { TraceSink } from '../util/trace.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** The status of a command that never reached the firmware. */
export const NO_FIRMWARE_CALL = -1;

/** `name` is the manual's name of the status, or NO RESPONSE (absent or dead), or TIMED OUT. */
export type AspFailure = { readonly ok: false; readonly status: number; readonly name: string };
export type AspResult<T = unknown> = ({ readonly ok: true } & T) | AspFailure;

export type AspPlatformStatus = {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly build: number;
  readonly state: number;
  readonly es: boolean;
  readonly guestCount: number;
};
export type AspGuestStatus = { readonly policy: number; readonly asid: number; readonly state: number };

type Detail = Readonly<Record<string, string | number>>;

/** Reads of CmdResp before the AMD-SP counts as dead. Ours answers at the first; real ones are given 100 s. */
const POLLS = 10_000;
/** In the driver's page: the command buffer, and where LAUNCH_MEASURE writes. */
const MEASUREMENT_OFFSET = 0x100;

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

export class AspDriver implements Stateful {
  readonly #host: Pick<HostProcessor, 'memory' | 'mailbox'>;
  readonly #page: Spa;
  readonly #physical: (place: Spa) => Spa;
  readonly #trace: TraceSink | null;
  #dead = false;

  /** `page`: one page of host memory for the driver alone; `physical`: a place as the AMD-SP is told of it, with the C-bit under SME. */
  constructor(
    host: Pick<HostProcessor, 'memory' | 'mailbox'>,
    page: Spa,
    trace: TraceSink | null,
    physical: (place: Spa) => Spa = (place) => place,
  ) {
    this.#physical = physical;
    this.#host = host;
    this.#page = page;
    this.#trace = trace;
  }

  /** Is there an AMD-SP that knows SEV? */
  get present(): boolean {
    if (this.#dead) return false;
    const feature = this.#host.mailbox.read(AspRegister.FEATURE) >>> 0;
    return feature !== ASP_ABSENT && (feature & AspFeature.SEV) !== 0;
  }

  /** `trustedMemory`: for SEV-ES, aligned to its size of 1 MiB, whose address has no C-bit; null: SEV only. */
  init(trustedMemory: { readonly at: Spa; readonly size: number } | null): AspResult {
    const { view, bytes } = InitBuffer.create();
    if (trustedMemory !== null) {
      view.flags = INIT_FLAG_ES;
      view.tmrPaddr = BigInt(trustedMemory.at);
      view.tmrLength = trustedMemory.size;
    }
    return this.#command('INIT', bytes, { es: trustedMemory === null ? 0 : 1 });
  }

  shutdown(): AspResult {
    return this.#command('SHUTDOWN', null, {});
  }

  platformStatus(): AspResult<AspPlatformStatus> {
    return this.#query(
      'PLATFORM_STATUS',
      PlatformStatusBuffer,
      () => ({}),
      ({ apiMajor, apiMinor, build, state, config, guestCount }) => ({
        apiMajor,
        apiMinor,
        build,
        state,
        es: (config & 1) !== 0,
        guestCount,
      }),
    );
  }

  nop(): AspResult {
    return this.#command('NOP', null, {});
  }

  /** Wants a WBINVD on all processors first, else WBINVD_REQUIRED. Needed after INIT and before an ASID gets another guest. */
  dfFlush(): AspResult {
    return this.#command('DF_FLUSH', null, {});
  }

  /** Without an owner's session. `shared`: handle of a guest whose memory key the new one is to have. */
  launchStart(policy: number, shared = 0): AspResult<{ readonly handle: number }> {
    const fill = (view: View<typeof LaunchStartBuffer.layout>): Detail => {
      view.policy = policy;
      view.handle = shared;
      return { policy };
    };
    return this.#query('LAUNCH_START', LaunchStartBuffer, fill, ({ handle }) => ({ handle }));
  }

  activate(handle: number, asid: number): AspResult {
    const { view, bytes } = ActivateBuffer.create();
    view.handle = handle;
    view.asid = asid;
    return this.#command('ACTIVATE', bytes, { handle, asid });
  }

  deactivate(handle: number): AspResult {
    return this.#forGuest('DEACTIVATE', handle);
  }

  decommission(handle: number): AspResult {
    return this.#forGuest('DECOMMISSION', handle);
  }

  /** A handle that no guest has is in state UNINIT. */
  guestStatus(handle: number): AspResult<AspGuestStatus> {
    const fill = (view: View<typeof GuestStatusBuffer.layout>): Detail => {
      view.handle = handle;
      return { handle };
    };
    return this.#query('GUEST_STATUS', GuestStatusBuffer, fill, ({ policy, asid, state }) => ({ policy, asid, state }));
  }

  /** Measures and encrypts in place; address and length are multiples of 16. */
  launchUpdateData(handle: number, at: Spa, length: number): AspResult {
    return this.#region('LAUNCH_UPDATE_DATA', handle, at, length);
  }

  /** Measures, protects and encrypts in place one page with a vCPU's initial state. */
  launchUpdateVmsa(handle: number, at: Spa): AspResult {
    return this.#region('LAUNCH_UPDATE_VMSA', handle, at, 4096);
  }

  /** `measurement`: 32 bytes, then 16 of the nonce in it. */
  launchMeasure(handle: number): AspResult<{ readonly measurement: Uint8Array }> {
    const at = spa(this.#page + MEASUREMENT_OFFSET);
    const { view, bytes } = LaunchRegionBuffer.create();
    view.handle = handle;
    view.paddr = BigInt(this.#physical(at));
    view.length = MEASUREMENT.size;
    const failure = this.#call('LAUNCH_MEASURE', bytes);
    if (failure) return this.#emit('LAUNCH_MEASURE', failure, { handle });
    const measurement = new Uint8Array(MEASUREMENT.size);
    this.#host.memory.read(at, measurement);
    return this.#emit('LAUNCH_MEASURE', { ok: true, measurement }, { handle, measurement: hex(measurement) });
  }

  launchFinish(handle: number): AspResult {
    return this.#forGuest('LAUNCH_FINISH', handle);
  }

  #forGuest(name: AspCommandName, handle: number): AspResult {
    const { view, bytes } = HandleBuffer.create();
    view.handle = handle;
    return this.#command(name, bytes, { handle });
  }

  #region(name: AspCommandName, handle: number, at: Spa, length: number): AspResult {
    const { view, bytes } = LaunchRegionBuffer.create();
    view.handle = handle;
    view.paddr = BigInt(this.#physical(at));
    view.length = length;
    return this.#command(name, bytes, { handle, address: at, length });
  }

  /** A command that only succeeds or fails. */
  #command(name: AspCommandName, buffer: Uint8Array | null, detail: Detail): AspResult {
    return this.#emit(name, this.#call(name, buffer) ?? { ok: true }, detail);
  }

  /** A command that answers in its buffer. */
  #query<const L extends Layout, T extends object>(
    name: AspCommandName,
    buffer: Struct<L>,
    fill: (view: View<L>) => Detail,
    answer: (view: View<L>) => T,
  ): AspResult<T> {
    const { view, bytes } = buffer.create();
    const detail = fill(view);
    const failure = this.#call(name, bytes);
    if (failure) return this.#emit(name, failure, detail);
    const given = answer(view);
    return this.#emit(name, { ok: true, ...given }, { ...detail, ...numbers(given) });
  }

  /** Hands the buffer over and takes it back; null: SUCCESS. */
  #call(name: AspCommandName, buffer: Uint8Array | null): AspFailure | null {
    const { memory, mailbox } = this.#host;
    if (!this.present) return this.#noCall('NO RESPONSE');
    const at = buffer === null ? 0 : this.#physical(this.#page);
    if (buffer !== null) memory.write(this.#page, buffer);
    mailbox.write(AspRegister.CMD_BUF_ADDR_LO, at % 2 ** 32);
    mailbox.write(AspRegister.CMD_BUF_ADDR_HI, Math.floor(at / 2 ** 32));
    mailbox.write(AspRegister.CMD_RESP, AspCommand[name] << CmdResp.COMMAND_SHIFT);
    const response = this.#wait();
    if (response === null) return this.#noCall('TIMED OUT');
    if (response === ASP_ABSENT) return this.#noCall('NO RESPONSE');
    if (buffer !== null) memory.read(this.#page, buffer);
    const status = response & CmdResp.STATUS_MASK;
    return status === AspStatus.SUCCESS ? null : { ok: false, status, name: aspStatusName(status) };
  }

  #wait(): number | null {
    for (let poll = 0; poll < POLLS; poll++) {
      const value = this.#host.mailbox.read(AspRegister.CMD_RESP) >>> 0;
      if ((value & CmdResp.RESPONSE) !== 0) return value;
    }
    return null;
  }

  #noCall(name: string): AspFailure {
    this.#dead = true;
    return { ok: false, status: NO_FIRMWARE_CALL, name };
  }

  #emit<T>(command: AspCommandName, result: AspResult<T>, detail: Detail): AspResult<T> {
    this.#trace?.emit({ kind: 'asp', command, status: result.ok ? aspStatusName(AspStatus.SUCCESS) : result.name, detail });
    return result;
  }

  exchange(fields: Fields): void {
    this.#dead = fields.value(this.#dead);
  }
}

const numbers = (given: object): Detail => Object.fromEntries(Object.entries(given).map(([name, value]) => [name, Number(value)]));
