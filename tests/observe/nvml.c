/* A stand-in for libnvidia-ml.so.1 with the shapes of the real C interface (nvml.h): two GPUs, of which the
   second supports neither ECC, MIG, a serial number nor a power limit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int nvmlReturn_t;
typedef struct gpu { int index; } *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct {
  char busIdLegacy[16];
  unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
  char busId[32];
} nvmlPciInfo_t;

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, TOO_SMALL = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

static struct gpu gpus[2] = {{0}, {1}};

static int asked(const char *name) { const char *v = getenv(name); return v && *v; }

static nvmlReturn_t text(char *out, unsigned int length, const char *value) {
  if (strlen(value) + 1 > length) return TOO_SMALL;
  strcpy(out, value);
  return OK;
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) { (void)flags; return asked("NVML_UNLOADED") ? DRIVER_NOT_LOADED : OK; }
nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
nvmlReturn_t nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(nvmlReturn_t code) {
  return code == GPU_IS_LOST ? "GPU is lost" : code == NOT_SUPPORTED ? "Not Supported" : "Unknown Error";
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *v, unsigned int n) { 
  const char *told = getenv("NVML_DRIVER");
  return text(v, n, told ? told : "580.65.06");
}
nvmlReturn_t nvmlSystemGetNVMLVersion(char *v, unsigned int n) { return text(v, n, "13.580.65.06"); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return OK; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *n) { *n = asked("NVML_NONE") ? 0 : asked("NVML_ONE") ? 1 : 2; return OK; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int at, nvmlDevice_t *d) {
  if (at > 1) return INVALID;
  if (at == 1 && asked("NVML_LOST")) return GPU_IS_LOST;
  *d = &gpus[at];
  return OK;
}
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *v, unsigned int n) {
  return text(v, n, d->index ? "NVIDIA GeForce RTX 4090" : "NVIDIA H100 80GB HBM3");
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *v, unsigned int n) {
  return text(v, n, d->index ? "GPU-11111111-2222-3333-4444-555555555555" : "GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
}
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *m) {
  m->total = d->index ? 25757220864ULL : 85520809984ULL;
  m->free = m->total - 1; m->used = 1;
  return OK;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *m) {
  m->total = d->index ? 25757220864ULL : 85520809984ULL;
  m->reserved = 0; m->free = m->total - 1; m->used = 1;
  return OK;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) {
  const char *told = getenv("NVML_CAPABILITY");
  *major = d->index ? 8 : 9; *minor = d->index ? 9 : 0;
  if (told) sscanf(told, "%d.%d", major, minor);
  return OK;
}
nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t d, int *current, int *pending) {
  if (d->index) return NOT_SUPPORTED;
  *current = *pending = 1;
  return OK;
}
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *current, unsigned int *pending) {
  if (d->index) return NOT_SUPPORTED;
  *current = 0; *pending = 1;
  return OK;
}
nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p) {
  memset(p, 0, sizeof *p);
  p->bus = 0x19 + d->index;
  snprintf(p->busIdLegacy, sizeof p->busIdLegacy, "0000:%02X:00.0", p->bus);
  snprintf(p->busId, sizeof p->busId, "00000000:%02X:00.0", p->bus);
  return OK;
}
nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t d, char *v, unsigned int n) {
  return d->index ? NOT_SUPPORTED : text(v, n, "1650123456789");
}
nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t d, char *v, unsigned int n) {
  return text(v, n, d->index ? "95.02.3C.00.01" : "96.00.89.00.01");
}
nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t d, unsigned int *mw) {
  if (d->index) return NOT_SUPPORTED;
  *mw = 700000;
  return OK;
}
nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t a, nvmlDevice_t b, int *level) {
  (void)a; (void)b; *level = 30;
  return OK;
}
nvmlReturn_t nvmlDeviceGetP2PStatus(nvmlDevice_t a, nvmlDevice_t b, int index, int *status) {
  (void)a; (void)b; (void)index;
  if (asked("NVML_OLD")) return NOT_SUPPORTED;
  *status = asked("NVML_NVLINK") ? 0 : 1;
  return OK;
}
