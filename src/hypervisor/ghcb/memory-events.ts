// Events whose data lie in memory, at SW_SCRATCH: string I/O and MMIO. The hypervisor cannot read what the instruction names, so the
// guest copies; what is named here is shared (GHCB specification 2.1 and table 7).

import { Ghcb } from '../../arch/ghcb.ts';
import type { PortSize } from '../../devices/device.ts';
import { type Answer, badInput, badScratch, done } from './answers.ts';
import { ioioPort, ioioSize } from './ioio.ts';
import type { GhcbPage } from './page.ts';
import type { Services } from './services.ts';

const { swExitInfo1, swExitInfo2, swScratch } = Ghcb.layout;

const MOST_ELEMENTS = 0x7fff_ffffn;
const LONGEST_MMIO = { version1: 0x7fff_ffffn, version2: 8n } as const;

/** SW_SCRATCH, if so many bytes there are a place that this guest may name now. */
function scratchOf(vcpu: Services, ghcb: GhcbPage, length: number): bigint | null {
  const scratch = ghcb.get(swScratch);
  return ghcb.scratchFits(scratch, length) && vcpu.isRam(scratch, length) ? scratch : null;
}

/** SW_EXITINFO2 counts elements, not bytes (CVE-2021-4093). */
function portString(
  vcpu: Services,
  ghcb: GhcbPage,
  move: (port: number, size: PortSize, bytes: Uint8Array, scratch: bigint) => void,
): Answer {
  const word = ghcb.low(swExitInfo1);
  const size = ioioSize(word);
  const count = ghcb.get(swExitInfo2);
  if (count > MOST_ELEMENTS) return badInput;
  if (count === 0n) return done; // as Linux asks for REP with RCX = 0; no memory is named then
  const length = Number(count) * size;
  const scratch = scratchOf(vcpu, ghcb, length);
  if (scratch === null) return badScratch;
  move(ioioPort(word), size, new Uint8Array(length), scratch);
  return done;
}

export function portInString(vcpu: Services, ghcb: GhcbPage): Answer {
  return portString(vcpu, ghcb, (port, size, bytes, scratch) => {
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length && vcpu.ended === null; at += size) store(view, at, size, vcpu.portIn(port, size));
    vcpu.writeMemory(scratch, bytes);
  });
}

export function portOutString(vcpu: Services, ghcb: GhcbPage): Answer {
  return portString(vcpu, ghcb, (port, size, bytes, scratch) => {
    vcpu.readMemory(scratch, bytes);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length && vcpu.ended === null; at += size) vcpu.portOut(port, size, load(view, at, size));
  });
}

function load(view: DataView, at: number, size: PortSize): number {
  return size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
}

function store(view: DataView, at: number, size: PortSize, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}

function mmio(vcpu: Services, ghcb: GhcbPage, move: (gpa: bigint, bytes: Uint8Array, scratch: bigint) => void): Answer {
  const length = ghcb.get(swExitInfo2);
  if (length === 0n || length > (ghcb.protocolVersion >= 2 ? LONGEST_MMIO.version2 : LONGEST_MMIO.version1)) return badInput;
  const scratch = scratchOf(vcpu, ghcb, Number(length));
  if (scratch === null) return badScratch;
  move(ghcb.get(swExitInfo1), new Uint8Array(Number(length)), scratch);
  return done;
}

export function mmioRead(vcpu: Services, ghcb: GhcbPage): Answer {
  return mmio(vcpu, ghcb, (gpa, bytes, scratch) => {
    vcpu.mmioRead(gpa, bytes);
    vcpu.writeMemory(scratch, bytes);
  });
}

export function mmioWrite(vcpu: Services, ghcb: GhcbPage): Answer {
  return mmio(vcpu, ghcb, (gpa, bytes, scratch) => {
    vcpu.readMemory(scratch, bytes);
    vcpu.mmioWrite(gpa, bytes);
  });
}
