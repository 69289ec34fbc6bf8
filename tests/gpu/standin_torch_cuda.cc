// A libtorch_cuda.so that knows no GPU: it only shows which library was loaded.
extern "C" int molora_standin_torch_cuda() { return 0; }
