#!/usr/bin/env bash
# Runs a command as one of several ranks that share a GPU: NCCL takes ranks with ids of their own for ranks of separate
# hosts and connects them through sockets. Few blocks, so that collectives of all ranks fit on the GPU together.
export NCCL_HOSTID=rank${OMPI_COMM_WORLD_RANK:?not started by mpirun}
export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-lo} NCCL_NVLS_ENABLE=0 NCCL_MAX_CTAS=${NCCL_MAX_CTAS:-2}
exec "$@"
