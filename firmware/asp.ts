// The AMD Secure Processor: the table of its commands, and how one is carried out. The buffer is copied in once and the
// handler works on the copy, so that the host cannot change it between check and use; results are copied back at the end.
// Publication 55766, chapter on commands; the published firmware's sev_dispatch.c.

import {
  ActivateBuffer,
  AspCommand,
  AspStatus,
  GuestState,
  GuestStatusBuffer,
  HandleBuffer,
  InitBuffer,
  LaunchRegionBuffer,
  LaunchStartBuffer,
  PlatformState,
  PlatformStatusBuffer,
} from '../src/arch/asp.ts';
import { BytesPort, type Layout, type Struct, type View } from '../src/util/struct.ts';
import { activate, deactivate, decommission, guestStatus } from './activation.ts';
import type { GuestContext } from './guest-context.ts';
import { isVmsaLength, launchFinish, launchMeasure, launchStart, launchUpdateData, launchUpdateVmsa } from './launch.ts';
import { dfFlush, init, nop, Platform, platformStatus, shutdown } from './platform.ts';
import type { AspPorts } from './ports.ts';
import type { Fields, Stateful } from '../src/util/stateful.ts';

/** When the buffer is copied back to the host: `out` after success, `always` also after an error, for the length that is needed. */
type Results = 'in' | 'out' | 'always';

type Row = {
  readonly id: AspCommand;
  /** Bytes of the command buffer; 0: none, and the address registers count for nothing. */
  readonly size: number;
  readonly results: Results;
  readonly platform: readonly PlatformState[];
  /** States of the guest whose handle the buffer begins with; null: the command is about no particular guest. */
  readonly guest: readonly GuestState[] | null;
  /** A check that comes even before the states. */
  readonly first: (buffer: Uint8Array) => AspStatus;
  readonly run: (platform: Platform, buffer: Uint8Array, guest: GuestContext | null) => AspStatus;
};

const always = (): AspStatus => AspStatus.SUCCESS;

/** A command without a buffer. */
function plain(id: AspCommand, platform: readonly PlatformState[], handler: (platform: Platform) => AspStatus): Row {
  return { id, size: 0, results: 'in', platform, guest: null, first: always, run: handler };
}

/** A command about no particular guest. */
function global<const L extends Layout>(
  id: AspCommand,
  buffer: Struct<L>,
  results: Results,
  platform: readonly PlatformState[],
  handler: (platform: Platform, buffer: View<L>) => AspStatus,
): Row {
  return {
    id,
    size: buffer.size,
    results,
    platform,
    guest: null,
    first: always,
    run: (asp, bytes) => handler(asp, buffer(new BytesPort(bytes))),
  };
}

/** A command about the guest whose handle the buffer begins with. */
function guest<const L extends Layout>(
  id: AspCommand,
  buffer: Struct<L>,
  results: Results,
  states: readonly GuestState[],
  handler: (platform: Platform, buffer: View<L>, guest: GuestContext) => AspStatus,
  first: (buffer: View<L>) => AspStatus = always,
): Row {
  return {
    id,
    size: buffer.size,
    results,
    platform: [W],
    guest: states,
    first: (bytes) => first(buffer(new BytesPort(bytes))),
    run: (asp, bytes, context) => (context ? handler(asp, buffer(new BytesPort(bytes)), context) : AspStatus.INVALID_GUEST),
  };
}

const { UNINIT: U, INIT: I, WORKING: W } = PlatformState;
const anyPlatform = [U, I, W];
const { LUPDATE, LSECRET } = GuestState;
const anyGuest = Object.values(GuestState);

/** What an ID that is not in here answers is INVALID_COMMAND. */
const commands: readonly Row[] = [
  //                       buffer, results, states of the platform or of the guest (then the platform is WORKING), handler
  global(AspCommand.INIT, InitBuffer, 'in', [U], init),
  plain(AspCommand.SHUTDOWN, anyPlatform, shutdown),
  global(AspCommand.PLATFORM_STATUS, PlatformStatusBuffer, 'out', anyPlatform, platformStatus),
  plain(AspCommand.DF_FLUSH, anyPlatform, dfFlush),
  plain(AspCommand.NOP, anyPlatform, nop),
  guest(AspCommand.DECOMMISSION, HandleBuffer, 'in', anyGuest, (asp, _, context) => decommission(asp, context)),
  guest(AspCommand.ACTIVATE, ActivateBuffer, 'in', anyGuest, activate), // not SENT: checked after the ASID
  guest(AspCommand.DEACTIVATE, HandleBuffer, 'in', anyGuest, (asp, _, context) => deactivate(asp, context)),
  global(AspCommand.GUEST_STATUS, GuestStatusBuffer, 'out', [I, W], guestStatus),
  global(AspCommand.LAUNCH_START, LaunchStartBuffer, 'out', [I, W], launchStart),
  guest(AspCommand.LAUNCH_UPDATE_DATA, LaunchRegionBuffer, 'in', [LUPDATE], launchUpdateData),
  guest(AspCommand.LAUNCH_UPDATE_VMSA, LaunchRegionBuffer, 'in', [LUPDATE], launchUpdateVmsa, isVmsaLength),
  guest(AspCommand.LAUNCH_MEASURE, LaunchRegionBuffer, 'always', [LUPDATE], launchMeasure),
  guest(AspCommand.LAUNCH_FINISH, HandleBuffer, 'in', [LSECRET], (asp, _, context) => launchFinish(asp, context)),
];

const byId: ReadonlyMap<number, Row> = new Map(commands.map((row) => [row.id, row]));

export class Asp implements Stateful {
  readonly #platform: Platform;

  constructor(ports: AspPorts) {
    this.#platform = new Platform(ports);
  }

  /** Carries one command out, with its buffer at a system physical address. */
  execute(id: number, address: bigint): AspStatus {
    const row = byId.get(id);
    if (!row) return AspStatus.INVALID_COMMAND;
    const { memory } = this.#platform.ports;
    const bytes = new Uint8Array(row.size);
    const at = row.size === 0 ? null : this.#platform.range(address, row.size);
    if (at === null) return row.size === 0 ? this.#run(row, bytes) : AspStatus.INVALID_ADDRESS;
    memory.read(at.start, at.key, bytes);
    const status = this.#run(row, bytes);
    if (row.results === 'always' || (row.results === 'out' && status === AspStatus.SUCCESS)) memory.write(at.start, at.key, bytes);
    return status;
  }

  #run(row: Row, bytes: Uint8Array): AspStatus {
    const platform = this.#platform;
    const first = row.first(bytes);
    if (first !== AspStatus.SUCCESS) return first;
    if (!row.platform.includes(platform.state)) return AspStatus.INVALID_PLATFORM_STATE;
    if (row.guest === null) return row.run(platform, bytes, null);
    const context = platform.guests.get(new BytesPort(bytes).u32(0));
    if (!context) return AspStatus.INVALID_GUEST;
    if (!row.guest.includes(context.state)) return AspStatus.INVALID_GUEST_STATE;
    return row.run(platform, bytes, context);
  }

  exchange(fields: Fields): void {
    fields.part(this.#platform);
  }
}
