// Priorities of a local APIC: bits 7:4 are the class. APM vol. 2, 16.6.4. Vectors below 0 mean that there is none.

/** The task's priority or that of the interrupt in service, whichever is higher. */
export function processorPriority(task: number, inService: number): number {
  const served = Math.max(inService, 0);
  return task >>> 4 >= served >>> 4 ? task : served & 0xf0;
}

/** What the APIC would bid for an interrupt of lowest priority. */
export function arbitrationPriority(task: number, inService: number, requested: number): number {
  const served = Math.max(inService, 0) >>> 4;
  const request = Math.max(requested, 0) >>> 4;
  return task >>> 4 >= request && task >>> 4 > served ? task : Math.max((task >>> 4) & served, request) << 4;
}
