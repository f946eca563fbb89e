// Reading and writing any range of system physical memory, page by page, through frames and their watches.

import { PAGE_SIZE } from '../util/address.ts';
import type { Frames } from './frames.ts';

/** No frame: there is no memory, or it is fenced. As a frame number to read from, all ones (FrameStore: VOID_FRAME). */
const NONE = 0;

/** A page of a range: its number, the offset of the part on it, and where that part lies in the range. */
type Part = (page: number, offset: number, from: number, to: number) => void;

function eachPage(spa: number, length: number, each: Part): void {
  for (let done = 0; done < length; ) {
    const page = Math.floor((spa + done) / PAGE_SIZE);
    const offset = spa + done - page * PAGE_SIZE;
    const here = Math.min(PAGE_SIZE - offset, length - done);
    each(page, offset, done, done + here);
    done += here;
  }
}

/** What lies beyond DRAM or behind a fence reads as all ones. */
export function readBytes(frames: Frames, spa: number, key: number, into: Uint8Array, secure: boolean): void {
  eachPage(spa, into.length, (page, offset, from, to) => {
    const frame = page < frames.pageCount ? frames.view(page, key, secure) : NONE;
    frames.loaded(frame, offset, to - from);
    const at = frames.address(frame) + offset;
    into.set(frames.memory.u8.subarray(at, at + to - from), from);
  });
}

/** What lies beyond DRAM or behind a fence is lost. */
export function writeBytes(frames: Frames, spa: number, key: number, bytes: Uint8Array, secure: boolean): void {
  eachPage(spa, bytes.length, (page, offset, from, to) => {
    const frame = page < frames.pageCount ? frames.own(page, key, secure) : NONE;
    if (frame === NONE) return;
    frames.stored(frame, offset, to - from);
    frames.memory.u8.set(bytes.subarray(from, to), frames.address(frame) + offset);
  });
}

/** As `readBytes` for a device, which has no cache. */
export function readBytesByDevice(frames: Frames, spa: number, key: number, into: Uint8Array, secure: boolean): void {
  if (frames.coherent) return readBytes(frames, spa, key, into, secure);
  eachPage(spa, into.length, (page, offset, from, to) => {
    const part = into.subarray(from, to);
    if (frames.deviceReaches(page, secure)) frames.lines.readByDevice(page, key, offset, part);
    else part.fill(0xff);
  });
}

export function writeBytesByDevice(frames: Frames, spa: number, key: number, bytes: Uint8Array, secure: boolean): void {
  if (frames.coherent) return writeBytes(frames, spa, key, bytes, secure);
  eachPage(spa, bytes.length, (page, offset, from, to) => {
    if (frames.deviceReaches(page, secure)) frames.lines.writeByDevice(page, key, offset, bytes.subarray(from, to));
  });
}
