import torch, rnn_kernels as rk
from torch import nn
class M(nn.Module):
    def __init__(s): super().__init__(); s.m=rk.LSTM(6,7)
    def forward(s,x): return s.m(x,return_cells=True)[0]
try: torch.onnx.export(M().eval(),(torch.randn(5,3,6),),"/tmp/w/e.onnx",dynamo=True,verbose=False)
except Exception as e:
    while e is not None: print(type(e),str(e)[:600]); print("---"); e=e.__cause__ or e.__context__
