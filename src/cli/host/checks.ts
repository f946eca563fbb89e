// What is right key by key and wrong together. Files are looked for by load.ts.

import { processorCpuid } from '../../cpu/cpuid.ts';
import { chooseModel } from '../../cpu/model-choice.ts';
import { parseSevFeatures } from '../../hypervisor/sev-features.ts';
import { hostMap } from '../../machine/memory-map.ts';
import { quoted } from './json.ts';
import type { FoundGuest, HostFile } from './read-file.ts';

const DEFAULT_MEMORY = 64 * 2 ** 20;
const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** One guest by itself. Throws UserError. */
export function checkGuest({ values, at }: FoundGuest): void {
  const { image, bios, initrd, append, mode, load, entry } = values;
  if (image === undefined && bios === undefined) at('image').refuse('image is missing: name one, or a ROM with bios');
  if (bios !== undefined) {
    for (const [key, value] of [['mode', mode], ['load', load], ['entry', entry]] as const) // biome-ignore format: pairs
      if (value !== undefined) at(key).refuse('says how an image starts, but bios starts at the reset vector: leave out one of them');
    for (const [key, value] of [['append', append], ['initrd', initrd]] as const) // biome-ignore format: pairs
      if (value !== undefined && image === undefined)
        at(key).refuse('goes with an image, which firmware fetches by fw_cfg: name an image besides bios');
  }
  if (values.virtio !== undefined && (values.disk ?? []).length === 0 && values.rng !== true && values['virtio-console'] !== true)
    at('virtio').refuse('there is no virtio device: leave it out, or give disk or rng');
  if (initrd !== undefined && typeof mode === 'number')
    at('initrd').refuse(`no boot protocol hands it over in mode ${mode}: leave mode out, or take multiboot or pvh`);
  if ((mode === 'multiboot' || mode === 'pvh') && load !== undefined)
    at('load').refuse(`the image says itself where ${mode} loads it: leave it out`);
}

/** The host, and its guests together. Throws UserError. */
export function checkHost({ host, guests }: HostFile): void {
  const { model } = chooseModel(host.values.cpu ?? 'milan');
  const { evict, encryption } = host.values;
  if (evict !== undefined && model.coherent)
    host.at('evict').refuse(`${model.name} keeps all views of memory coherent, so that nobody could tell: take "cpu": "naples" or "rome"`);
  if (encryption !== undefined && encryption !== model.tweak.mode && model.name !== 'naples')
    host.at('encryption').refuse(`${model.name} encrypts by ${model.tweak.mode} only: leave it out, or take "cpu": "naples"`);
  const es = host.values['es-asids'] ?? model.firstAsidWithoutEs - 1;
  if (es > model.lastAsid) host.at('es-asids').refuse(`${model.name} has ${model.lastAsid} ASIDs: give no more`);
  const asids = { none: Number.POSITIVE_INFINITY, sev: model.lastAsid - es, 'sev-es': es };
  const used = { none: 0, sev: 0, 'sev-es': 0 };
  const byName = new Map<string, number>();
  const disks = new Map<string, { readonly guest: number; readonly readOnly: boolean }>();
  const logs = new Map<string, number>();
  const room = host.values.memory === undefined ? Number.POSITIVE_INFINITY : host.values.memory - hostMap.guest;
  let taken = 0;
  for (const [i, { values, at }] of guests.entries()) {
    const { name = '', sev = 'sev-es', autostart = true } = values;
    at('sev-features').reading(() => parseSevFeatures(values['sev-features'] ?? [], sev, processorCpuid(model)));
    const log = values['console-log'];
    const same = byName.get(name);
    if (same !== undefined) at('name').refuse(`${quoted(name)} is guests[${same}], too: give each guest its own name`);
    byName.set(name, i);
    const other = log === undefined ? undefined : logs.get(log);
    if (other !== undefined) at('console-log').refuse(`${quoted(log ?? '')} is the log of guests[${other}], too: give each guest its own`);
    if (log !== undefined) logs.set(log, i);
    for (const disk of values.disk ?? []) {
      const readOnly = disk.endsWith(',ro');
      const path = readOnly ? disk.slice(0, -3) : disk;
      const before = disks.get(path);
      if (before !== undefined && !(readOnly && before.readOnly))
        at('disk').refuse(`${quoted(path)} is a disk of guests[${before.guest}], too: let both only read it (",ro"), or give each its own`);
      disks.set(path, { guest: i, readOnly });
    }
    if (autostart) taken += values.memory ?? DEFAULT_MEMORY;
    if (taken > room)
      at('memory').refuse(
        `with the guests before it that is ${mib(taken)}, and the host has ${mib(room)} for them: take more, or "autostart": false`,
      );
    if (autostart && ++used[sev] > asids[sev])
      at('sev').refuse(
        `${model.name} has ASIDs for ${asids[sev]} guests with ${sev}, and this is one more: take another cpu${sev === 'none' ? '' : ' or other es-asids'}, or "autostart": false`,
      );
  }
}
